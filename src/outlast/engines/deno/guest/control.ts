/** The channel between this worker and its node. */

import { encode, type FromWorker, type ToWorker } from "./messages.ts";

/**
 * So many writes may be under way at once if they are small: Linux takes a small write to a Unix socket whole or not at
 * all, so that lines cannot mix. Other systems may take a part of it.
 */
const EAGER_WRITES = Deno.build.os === "linux" ? 4 : 1;
const EAGER_BYTES = 16 * 1024;

const encoder = new TextEncoder();

/** The duplex stream that a channel needs of a `Deno.Conn`. */
export interface Stream {
  read(into: Uint8Array): Promise<number | null>;
  write(bytes: Uint8Array): Promise<number>;
}

export class Channel {
  #stream: Stream;
  #queued = "";
  #writes = 0;
  #bytesUnderWay = 0;
  #ending = false;
  #latest: Promise<void> = Promise.resolve();

  constructor(stream: Stream) {
    this.#stream = stream;
  }

  /**
   * Never blocks, never throws. A `Deno.Conn` has handed what it is given to the kernel when `write` returns, not when
   * its promise settles: the first lines of a burst are there even if the process dies in the same turn of its loop.
   * What follows them goes out together as soon as they are through.
   */
  send = (message: FromWorker): void => {
    const line = encode(message);
    const few = this.#writes < EAGER_WRITES && this.#bytesUnderWay + line.length <= EAGER_BYTES;
    if (this.#ending || this.#queued === "" && (few || this.#writes === 0)) this.#write(line);
    else this.#queued += line;
  };

  /** The process is about to end: nothing waits for its turn any more. */
  lastWords(): void {
    this.#ending = true;
    this.#flush();
  }

  /** Settles when everything sent so far is in the kernel's hands. */
  async drain(): Promise<void> {
    while (this.#writes > 0) await this.#latest;
  }

  /** Ends when the node has closed its end, or throws what went wrong. */
  async *messages(): AsyncGenerator<ToWorker> {
    const decoder = new TextDecoder();
    const buffer = new Uint8Array(16 * 1024);
    let rest = "";
    for (;;) {
      const size = await this.#stream.read(buffer);
      if (size === null) return;
      const lines = (rest + decoder.decode(buffer.subarray(0, size), { stream: true })).split("\n");
      rest = lines.pop()!;
      for (const line of lines) yield JSON.parse(line) as ToWorker;
    }
  }

  #flush(): void {
    const text = this.#queued;
    this.#queued = "";
    if (text !== "") this.#write(text);
  }

  #write(text: string): void {
    const bytes = encoder.encode(text);
    this.#writes++;
    this.#bytesUnderWay += bytes.length;
    // A broken channel shows in `messages`, which ends the process.
    this.#latest = this.#writeAll(bytes).catch(() => {}).then(() => this.#written(bytes.length));
  }

  async #writeAll(bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length;) done += await this.#stream.write(bytes.subarray(done));
  }

  #written(size: number): void {
    this.#writes--;
    this.#bytesUnderWay -= size;
    if (this.#writes === 0) this.#flush();
  }
}

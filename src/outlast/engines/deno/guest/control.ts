/** The channel between this worker and its node. */

import { encode, type FromWorker, type ToWorker } from "./messages.ts";

const { setImmediate } = globalThis;

/** So many lines that follow a quiet turn are written one by one, whatever they say. */
const EAGER_LINES = 4;
/**
 * So many writes may be under way: in one turn of the event loop, Deno hands no more of them to the kernel. Linux takes a
 * small write to a Unix socket whole or not at all, so that lines cannot mix even when some have to wait; other systems
 * may take a part of it.
 */
const MAX_WRITES = Deno.build.os === "linux" ? 128 : 1;
const MAX_SMALL = 16 * 1024;

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
  #largeWrites = 0;
  #eagerLeft = EAGER_LINES;
  #latest: Promise<void> = Promise.resolve();
  #inBurst = false;
  #spoke = false;
  #ending = false;

  constructor(stream: Stream) {
    this.#stream = stream;
  }

  /**
   * Never blocks, never throws. A `Deno.Conn` has handed what it is given to the kernel when `write` returns, not when
   * its promise settles: what is written is heard of even if the process dies the next moment. The start of a task is
   * written at once, and so are the first lines after a quiet turn of the event loop. From then on the lines of each
   * turn go out together at its end, or with the next start of a task, until a turn is quiet again.
   */
  send = (message: FromWorker): void => {
    const line = encode(message);
    this.#spoke = true;
    this.#queued += line;
    if (this.#ending || this.#isEager(message, line)) this.#flush();
    if (this.#inBurst) return;
    this.#inBurst = true;
    setImmediate(this.#endTurn);
  };

  /** The process is about to end: nothing waits for its turn any more. */
  lastWords(): void {
    this.#ending = true;
    this.#flush();
  }

  /** Settles when everything sent so far is in the kernel's hands. */
  async drain(): Promise<void> {
    while (this.#writes > 0 || this.#queued !== "") {
      if (this.#writes === 0) this.#flush();
      await this.#latest;
    }
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

  #isEager(message: FromWorker, line: string): boolean {
    const isFirst = this.#queued.length === line.length && this.#eagerLeft > 0;
    if (message.type !== "task_started" && !isFirst) return false;
    const isAlone = this.#writes === 0;
    const hasRoom = this.#writes < MAX_WRITES && this.#largeWrites === 0 && this.#queued.length <= MAX_SMALL;
    if (!isAlone && !hasRoom) return false;
    this.#eagerLeft = Math.max(0, this.#eagerLeft - 1);
    return true;
  }

  #endTurn = (): void => {
    this.#inBurst = this.#spoke;
    this.#eagerLeft = this.#spoke ? 0 : EAGER_LINES;
    this.#spoke = false;
    if (this.#writes === 0) this.#flush();
    if (this.#inBurst) setImmediate(this.#endTurn);
  };

  #flush(): void {
    const text = this.#queued;
    this.#queued = "";
    if (text !== "") this.#write(text);
  }

  #write(text: string): void {
    const isLarge = text.length > MAX_SMALL;
    this.#writes++;
    if (isLarge) this.#largeWrites++;
    this.#latest = this.#writeAll(encoder.encode(text), isLarge);
  }

  async #writeAll(bytes: Uint8Array, isLarge: boolean): Promise<void> {
    try {
      for (let done = 0; done < bytes.length;) done += await this.#stream.write(bytes.subarray(done));
    } catch {
      // A broken channel shows in `messages`, which ends the process.
    }
    this.#writes--;
    if (isLarge) this.#largeWrites--;
    // The burst ended while the kernel had no room.
    if (this.#writes === 0 && !this.#inBurst) this.#flush();
  }
}

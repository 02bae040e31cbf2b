/** The channel between this worker and its node. */

import { encode, type FromWorker, type ToWorker } from "./messages.ts";
import type { Notes } from "./notes.ts";

const { setTimeout } = globalThis;

/**
 * In a burst, lines are gathered for so long. Not for a turn of the event loop: to be woken for the next one costs twice as
 * much as a write, and a busy worker has one for each request.
 */
const GATHER_MS = 1;
/** So many lines of such a time are written at once all the same: the event loop may never come to its next turn. */
const EAGER_LINES = 4;
/**
 * So many writes may be under way: in one turn of the event loop, Deno hands no more of them to the kernel. Linux takes a
 * small write to a Unix socket whole or not at all, so that lines cannot mix even when some have to wait; other systems
 * may take a part of it.
 */
const MAX_WRITES = Deno.build.os === "linux" ? 128 : 1;
/** In characters, of up to three bytes. What was gathered goes out in such pieces: only a line of its own can be large. */
const MAX_SMALL = 15 * 1024;
/** Not so much is gathered that is not noted: the event loop may never come to its next turn. */
const MUCH = MAX_SMALL / 2;
const BLOCK = 64 * 1024;

const encoder = new TextEncoder();

/** The duplex stream that a channel needs of a `Deno.Conn`. */
export interface Stream {
  read(into: Uint8Array): Promise<number | null>;
  write(bytes: Uint8Array): Promise<number>;
}

export class Channel {
  #stream: Stream;
  #notes: Notes | undefined;
  #queued = "";
  /** So many characters of it are not noted. */
  #unnoted = 0;
  #lines = 0;
  #room = new Uint8Array(0);
  #writes = 0;
  #largeWrites = 0;
  #eagerLeft = EAGER_LINES;
  #latest: Promise<void> = Promise.resolve();
  #inBurst = false;
  #spoke = false;
  #ending = false;

  /** `notes`: what is put there is heard of, whenever the process dies. */
  constructor(stream: Stream, notes?: Notes) {
    this.#stream = stream;
    this.#notes = notes;
  }

  /**
   * Never blocks, never throws. The first few lines of each moment are written at once, of the ends of tasks only the
   * first one after a pause. The rest goes out together when the moment is over, or with what is written at once.
   *
   * A `Deno.Conn` has handed what it is given to the kernel when `write` returns, not when its promise settles: what is
   * written is heard of even if the process dies the next moment. Only where the kernel has no room it is not, so each
   * start of a task is noted instead: the node has no use for it before the response. One that cannot be noted is written
   * at once.
   */
  send = (message: FromWorker): void => {
    this.#spoke = true;
    const line = encode(message);
    const number = this.#lines++;
    this.#queued += line;
    const isNoted = message.type === "task_started" && this.#notes?.put(line, number) === true;
    if (!isNoted) this.#unnoted += line.length;
    if (this.#ending || (!isNoted && this.#isEager(message))) this.#flush();
    if (this.#inBurst) return;
    this.#inBurst = true;
    setTimeout(this.#endMoment, GATHER_MS);
  };

  /** The process is about to end: nothing is gathered any more. */
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

  #isEager({ type }: FromWorker): boolean {
    if (type === "task_started" || this.#unnoted > MUCH) return true;
    if ((type === "task_settled" && this.#inBurst) || this.#eagerLeft === 0 || !this.#hasRoom) return false;
    this.#eagerLeft--;
    return true;
  }

  get #hasRoom(): boolean {
    return this.#writes < MAX_WRITES && this.#largeWrites === 0;
  }

  #endMoment = (): void => {
    this.#inBurst = this.#spoke;
    this.#eagerLeft = EAGER_LINES;
    this.#spoke = false;
    if (this.#writes === 0) this.#flush();
    if (this.#inBurst) setTimeout(this.#endMoment, GATHER_MS);
  };

  #flush(): void {
    while (this.#queued !== "" && (this.#ending || this.#hasRoom)) this.#write(this.#nextPiece());
    this.#unnoted = Math.min(this.#unnoted, this.#queued.length);
  }

  /** Whole lines, together no more than `MAX_SMALL`, or one that is longer. */
  #nextPiece(): string {
    const queued = this.#queued;
    if (queued.length <= MAX_SMALL) {
      this.#queued = "";
      return queued;
    }
    const end = queued.lastIndexOf("\n", MAX_SMALL - 1) + 1 || queued.indexOf("\n") + 1;
    this.#queued = queued.slice(end);
    return queued.slice(0, end);
  }

  #write(text: string): void {
    const isLarge = text.length > MAX_SMALL;
    this.#writes++;
    if (isLarge) this.#largeWrites++;
    this.#latest = this.#writeAll(this.#encoded(text), isLarge);
  }

  /** A piece of a block, because small arrays of their own cost more. The kernel may read it as long as it likes. */
  #encoded(text: string): Uint8Array {
    if (text.length * 3 > this.#room.length) {
      if (text.length > MAX_SMALL) return encoder.encode(text);
      this.#room = new Uint8Array(BLOCK);
    }
    const { written } = encoder.encodeInto(text, this.#room);
    const bytes = this.#room.subarray(0, written);
    this.#room = this.#room.subarray(written);
    return bytes;
  }

  async #writeAll(bytes: Uint8Array, isLarge: boolean): Promise<void> {
    try {
      let done = await this.#stream.write(bytes);
      while (done < bytes.length) done += await this.#stream.write(bytes.subarray(done));
    } catch {
      // A broken channel shows in `messages`, which ends the process.
    }
    this.#writes--;
    if (isLarge) this.#largeWrites--;
    if (this.#writes === 0 && this.#queued === "") this.#notes?.clear();
    // What is gathered has waited for this, or the burst ended while the kernel had no room.
    if (this.#writes === 0 && (isLarge || !this.#inBurst)) this.#flush();
  }
}

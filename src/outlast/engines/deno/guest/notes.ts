/**
 * The worker's side of `outlast.wire.notes`: what it has said and not handed to the kernel yet, in a file that outlives it.
 * A write to a file costs a fifth of one to a socket.
 */

/** Of the file. */
const MAX_BYTES = 512 * 1024;
/** A character of JavaScript takes so many bytes at most. */
const MOST = 3;

const encoder = new TextEncoder();

/** What is needed of a `Deno.FsFile` that was opened to append. */
export interface File {
  writeSync(bytes: Uint8Array): number;
  truncateSync(length: number): void;
}

export class Notes {
  #file: File;
  #size = 0;
  #room = new Uint8Array(1024);
  /** What follows a line that could not be noted cannot be noted either. */
  #isBehind = false;

  constructor(file: File) {
    this.#file = file;
  }

  /** `undefined` where the node has put no file there. */
  static open(path: string): Notes | undefined {
    try {
      return new Notes(Deno.openSync(path, { append: true }));
    } catch {
      return;
    }
  }

  get isEmpty(): boolean {
    return this.#size === 0 && !this.#isBehind;
  }

  /** `before`: how many bytes were said before this line, if it is the first. Returns whether it is safe now. */
  put(line: string, before: number): boolean {
    if (this.#isBehind) return false;
    try {
      const bytes = this.#encoded(this.#size === 0 ? `${before}\n${line}` : line);
      const fits = this.#size + bytes.length <= MAX_BYTES;
      this.#isBehind = !fits || this.#file.writeSync(bytes) < bytes.length;
      this.#size += bytes.length;
    } catch {
      this.#isBehind = true;
    }
    return !this.#isBehind;
  }

  /** Everything that was said is in the kernel's hands. */
  clear(): void {
    if (this.isEmpty) return;
    try {
      this.#file.truncateSync(0);
      this.#size = 0;
      this.#isBehind = false;
    } catch {
      // What is there remains true, and nothing can be added.
      this.#isBehind = true;
    }
  }

  #encoded(text: string): Uint8Array {
    if (text.length * MOST > this.#room.length) {
      if (text.length > MAX_BYTES) return encoder.encode(text);
      this.#room = new Uint8Array(text.length * MOST);
    }
    return this.#room.subarray(0, encoder.encodeInto(text, this.#room).written);
  }
}

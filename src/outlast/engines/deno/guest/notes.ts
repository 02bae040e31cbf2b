/**
 * The worker's side of `outlast.wire.notes`: what it has said and not handed to the kernel yet, in a file that outlives it.
 * A write to a file costs less than one to a socket, and wakes nobody.
 */

/** Of the file. */
const MAX_BYTES = 512 * 1024;
/** A character of JavaScript takes so many bytes at most. */
const MOST = 3;

const encoder = new TextEncoder();

/** What is needed of a `Deno.FsFile`. */
export interface File {
  writeSync(bytes: Uint8Array): number;
  seekSync(offset: number, whence: Deno.SeekMode): number;
}

export class Notes {
  #file: File;
  #size = 0;
  #room = new Uint8Array(1024);
  /** The beginning of it that was written last: most lines are as long as the one before. */
  #written = this.#room.subarray(0, 0);

  constructor(file: File) {
    this.#file = file;
  }

  /** `undefined` where the node has put no file there. */
  static open(path: string): Notes | undefined {
    try {
      return new Notes(Deno.openSync(path, { write: true }));
    } catch {
      return;
    }
  }

  /** `number`: how many lines were said before it. Returns whether it is safe now. */
  put(line: string, number: number): boolean {
    try {
      const bytes = this.#encoded(`${number} ${line.slice(0, -1)} ${number}\n`);
      if (this.#size + bytes.length > MAX_BYTES) return false;
      if (this.#size === 0) this.#file.seekSync(0, Deno.SeekMode.Start);
      this.#size += bytes.length;
      if (this.#file.writeSync(bytes) === bytes.length) return true;
    } catch {
      // No room, for one.
    }
    // Behind a part of a line none can stand.
    this.#size = MAX_BYTES;
    return false;
  }

  /** Everything that was said is in the kernel's hands: what is put here next begins the file anew. */
  clear(): void {
    this.#size = 0;
  }

  #encoded(text: string): Uint8Array {
    if (text.length * MOST > this.#room.length) {
      if (text.length > MAX_BYTES) return encoder.encode(text);
      this.#room = new Uint8Array(text.length * MOST);
      this.#written = this.#room.subarray(0, 0);
    }
    const { written } = encoder.encodeInto(text, this.#room);
    if (this.#written.length !== written) this.#written = this.#room.subarray(0, written);
    return this.#written;
  }
}

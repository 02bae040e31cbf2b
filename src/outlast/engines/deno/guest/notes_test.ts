import assert from "node:assert/strict";
import { type File, Notes } from "./notes.ts";

const decoder = new TextDecoder();

/** In memory; `most`: there is no room for more bytes than that. */
class FakeFile implements File {
  text = "";
  at = 0;
  most = Infinity;

  writeSync(bytes: Uint8Array): number {
    const taken = bytes.subarray(0, Math.max(this.most - this.at, 0));
    if (taken.length === 0) throw new Error("No space left on device");
    const text = decoder.decode(taken);
    this.text = this.text.slice(0, this.at) + text + this.text.slice(this.at + text.length);
    this.at += text.length;
    return taken.length;
  }

  seekSync(offset: number): number {
    return this.at = offset;
  }
}

Deno.test("Notes begin anew when all was sent", () => {
  const file = new FakeFile();
  const notes = new Notes(file);
  assert(notes.put("one\n", 7));
  assert(notes.put("zwölf 💡\n", 9));
  assert.equal(file.text, "7 one 7\n9 zwölf 💡 9\n");
  notes.clear();
  assert(notes.put("four\n", 10));
  assert.equal(file.text, "10 four 10\nwölf 💡 9\n");
});

Deno.test("Notes hold lines of any length up to their own", () => {
  const file = new FakeFile();
  const notes = new Notes(file);
  const all = [10, 5_000, 700, 200_000, 100].map((length) => "ä".repeat(length));
  for (const line of all) assert(notes.put(line + "\n", 0));
  assert(!notes.put("x".repeat(1_000_000) + "\n", 0));
  assert.deepEqual(file.text.trim().split("\n").map((note) => note.split(" ")[1]), all);
});

Deno.test("Notes take nothing after a line that there was no room for, until all was sent", () => {
  const file = new FakeFile();
  const notes = new Notes(file);
  for (const most of [11, 8]) {
    file.most = most;
    assert(notes.put("one\n", 0));
    assert(!notes.put("two\n", 1));
    file.most = Infinity;
    assert(!notes.put("three\n", 2));
    assert.match(file.text, /^0 one 0\n(1 t)?$/);
    notes.clear();
  }
  assert(notes.put("four\n", 14));
  assert.match(file.text, /^14 four 14\n/);
});

Deno.test("Notes need a file that can be written", () => {
  assert.equal(Notes.open("/nonexistent/notes"), undefined);
});

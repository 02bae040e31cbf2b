import assert from "node:assert/strict";
import { type File, Notes } from "./notes.ts";

const decoder = new TextDecoder();

/** In memory; `most`: there is no room for more bytes than that. */
class FakeFile implements File {
  text = "";
  most = Infinity;

  writeSync(bytes: Uint8Array): number {
    const taken = bytes.subarray(0, Math.max(this.most - this.text.length, 0));
    if (taken.length === 0) throw new Error("No space left on device");
    this.text += decoder.decode(taken);
    return taken.length;
  }

  truncateSync(length: number): void {
    assert.equal(length, 0);
    this.text = "";
  }
}

Deno.test("Notes begin with what was said before them", () => {
  const file = new FakeFile();
  const notes = new Notes(file);
  assert(notes.isEmpty);
  assert(notes.put("one\n", 0));
  assert(notes.put("zwölf 💡\n", 0));
  assert.equal(file.text, "0\none\nzwölf 💡\n");
  assert(!notes.isEmpty);
  notes.clear();
  assert(notes.isEmpty);
  assert.equal(file.text, "");
  assert(notes.put("three\n", 4711));
  assert.equal(file.text, "4711\nthree\n");
});

Deno.test("Notes hold lines of any length up to their own", () => {
  const file = new FakeFile();
  const notes = new Notes(file);
  let all = "0\n";
  for (const length of [10, 5_000, 700, 200_000, 100]) {
    const line = "ä".repeat(length) + "\n";
    assert(notes.put(line, 0));
    all += line;
  }
  assert(!notes.put("x".repeat(1_000_000), 0));
  assert.equal(file.text, all);
});

Deno.test("Notes take nothing after a line that there was no room for, until all was sent", () => {
  const file = new FakeFile();
  const notes = new Notes(file);
  for (const most of [8, 6]) {
    file.most = most;
    assert(notes.put("one\n", 0));
    assert(!notes.put("two\n", 0));
    file.most = Infinity;
    assert(!notes.put("three\n", 0));
    assert.match(file.text, /^0\none\n(tw)?$/);
    notes.clear();
    assert.equal(file.text, "");
  }
  assert(notes.put("four\n", 14));
  assert.equal(file.text, "14\nfour\n");
});

Deno.test("Notes need a file that can be written", () => {
  assert.equal(Notes.open("/nonexistent/notes"), undefined);
});

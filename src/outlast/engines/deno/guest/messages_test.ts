import assert from "node:assert/strict";
import { encode, type FromWorker } from "./messages.ts";

const vectors = JSON.parse(
  await Deno.readTextFile(new URL("../../../../../tests/wire/vectors.json", import.meta.url)),
);

Deno.test("encode() gives one line for each vector", () => {
  assert(vectors.from_worker.length > 0);
  for (const message of vectors.from_worker) {
    const line = encode(message);
    assert.equal(line.indexOf("\n"), line.length - 1);
    assert.deepEqual(JSON.parse(line), message);
  }
});

Deno.test("encode() leaves out what is undefined", () => {
  const line = encode({ type: "task_started", task: 1, name: undefined, request: undefined });
  assert.equal(line, '{"type":"task_started","task":1}\n');
});

Deno.test("encode() keeps the starts of tasks apart", () => {
  const values = [undefined, "a", "a", '"\ud83d"', "b", undefined];
  for (const name of values) {
    for (const request of values) {
      for (const unloading of [true, undefined] as const) {
        const message: FromWorker = { type: "task_started", task: 1, name, request, unloading };
        const safe = { ...message, name: name?.toWellFormed(), request: request?.toWellFormed() };
        assert.deepEqual(JSON.parse(encode(message)), JSON.parse(JSON.stringify(safe)));
      }
    }
  }
});

Deno.test("encode() replaces lone surrogates, and them alone", () => {
  const lone = encode({ type: "log", level: "info", text: "a\ud83db \\ud83d 💡" });
  assert.equal(JSON.parse(lone).text, "a\ufffdb \\ud83d 💡");
  assert(!lone.includes('"a\\ud'));
});

Deno.test("encode() keeps each line within 1 MiB", () => {
  const long = "x".repeat(256 * 1024);
  const messages: FromWorker[] = [
    { type: "log", level: "info", text: long + "y" },
    { type: "uncaught", error: "\0".repeat(5_000_000) },
    { type: "log", level: "info", text: "💡".repeat(1_000_000) },
    { type: "task_started", task: 1, name: long },
  ];
  for (const message of messages) {
    const line = encode(message);
    assert(new TextEncoder().encode(line).length <= 1024 * 1024);
    assert.match(line, /\[cut: it had \d+ characters\]"}\n$/);
    assert(!line.includes("\\ud"));
  }
  const kept = JSON.parse(encode(messages[0])).text;
  assert.equal(kept, `${long}\n[cut: it had 262145 characters]`);
  assert.equal(JSON.parse(encode({ type: "log", level: "info", text: long })).text, long);
});

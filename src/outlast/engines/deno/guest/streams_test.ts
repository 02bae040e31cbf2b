import assert from "node:assert/strict";
import * as context from "./context.ts";
import { install, requestOf } from "./streams.ts";

const { prototype } = ReadableStream;
install();

/** What `make` returns, read outside of the request in which it is made, as Deno reads a response. */
async function read(make: () => ReadableStream<string>, pieces = Infinity): Promise<string[]> {
  const reader = context.run("r-1", make).getReader();
  const found: string[] = [];
  for (let piece; found.length < pieces && !(piece = await reader.read()).done;) {
    found.push(piece.value);
    // Otherwise the next piece could still come of the stream's own start.
    await new Promise((resolve) => setTimeout(resolve));
  }
  await reader.cancel();
  return found;
}

const name = () => context.requestId() ?? "none";

Deno.test("a stream belongs to who made it, whoever reads it", async () => {
  let left = 3, cancelled = "";
  class Source {
    #name = name();
    start(controller: ReadableStreamDefaultController<string>) {
      controller.enqueue(`start ${name()} ${this.#name}`);
    }
    pull(controller: ReadableStreamDefaultController<string>) {
      if (left-- > 0) controller.enqueue(`pull ${name()} ${this.#name}`);
      else controller.close();
    }
    cancel(reason: unknown) {
      cancelled = `${reason} ${name()}`;
    }
  }
  const own = ["start r-1 r-1", ...Array(3).fill("pull r-1 r-1")];
  assert.deepEqual(await read(() => new ReadableStream(new Source(), { highWaterMark: 0 })), own);
  left = 3;
  assert.deepEqual(await read(() => new ReadableStream(new Source()), 2), own.slice(0, 2));
  assert.equal(cancelled, "undefined r-1");
  assert.equal(name(), "none");
});

Deno.test("so does the generator of one", async () => {
  const ends: string[] = [];
  async function* pieces() {
    try {
      yield name();
      await null;
      yield name();
    } finally {
      ends.push(name());
    }
  }
  assert.deepEqual(await read(() => ReadableStream.from(pieces())), ["r-1", "r-1"]);
  assert.deepEqual(await read(() => ReadableStream.from(pieces()), 1), ["r-1"]);
  assert.deepEqual(ends, ["r-1", "r-1"]);
  function* atOnce() {
    yield name();
    yield name();
  }
  assert.deepEqual(await read(() => ReadableStream.from(atOnce())), ["r-1", "r-1"]);
});

Deno.test("requestOf() knows whose stream has failed", async () => {
  const [thrown, rejected, yielded] = ["thrown", "rejected", "yielded"].map((text) => new Error(text));
  // deno-lint-ignore require-yield
  async function* pieces(): AsyncGenerator<string> {
    throw yielded;
  }
  const throws = () => {
    throw thrown;
  };
  await assert.rejects(read(() => new ReadableStream({ pull: throws })), thrown);
  await assert.rejects(read(() => new ReadableStream({ pull: () => Promise.reject(rejected) })), rejected);
  await assert.rejects(read(() => ReadableStream.from(pieces())), yielded);
  assert.deepEqual([thrown, rejected, yielded].map(requestOf), ["r-1", "r-1", "r-1"]);
  for (const error of [new Error("another"), "text", null]) assert.equal(requestOf(error), undefined);
});

Deno.test("streams are what they were", async () => {
  const bytes = new ReadableStream({ type: "bytes", start: (controller) => controller.close() });
  assert.equal(Object.getPrototypeOf(bytes), prototype);
  assert.equal(bytes.constructor, ReadableStream);
  assert(bytes instanceof ReadableStream && new Response("x").body instanceof ReadableStream);
  assert(bytes.getReader({ mode: "byob" }));
  assert.deepEqual(await read(() => ReadableStream.from(["a", "b"])), ["a", "b"]);
  class Own extends (ReadableStream as unknown as new () => object) {}
  assert(new Own() instanceof Own);
  // deno-lint-ignore no-explicit-any
  for (const wrong of [5, { pull: 5 }, { type: "text" }] as any[]) {
    assert.throws(() => new ReadableStream(wrong), TypeError);
  }
  // deno-lint-ignore no-explicit-any
  for (const wrong of [5, {}] as any[]) {
    assert.throws(() => context.run("r-1", () => ReadableStream.from(wrong)), TypeError);
  }
});

import assert from "node:assert/strict";
import { Channel, type Stream } from "./control.ts";
import type { FromWorker } from "./messages.ts";

const decoder = new TextDecoder();

/** Takes what is written when it is told to, and gives to read what it is given. */
class FakeStream implements Stream {
  writes: string[] = [];
  waiting: (() => void)[] = [];
  #chunks: Uint8Array[];
  #most: number;

  constructor({ chunks = [], most = Infinity }: { chunks?: Uint8Array[]; most?: number } = {}) {
    this.#chunks = chunks;
    this.#most = most;
  }

  read(into: Uint8Array): Promise<number | null> {
    const chunk = this.#chunks.shift();
    if (!chunk) return Promise.resolve(null);
    into.set(chunk);
    return Promise.resolve(chunk.length);
  }

  write(bytes: Uint8Array): Promise<number> {
    const taken = bytes.slice(0, this.#most);
    this.writes.push(decoder.decode(taken));
    return new Promise((resolve) => this.waiting.push(() => resolve(taken.length)));
  }

  async acceptAll(): Promise<void> {
    while (this.waiting.length > 0) {
      this.waiting.shift()!();
      for (let turn = 0; turn < 10; turn++) await null;
    }
  }
}

/** Timers of the same length end in the order in which they were set: the channel's comes first. */
const moment = () => new Promise((resolve) => setTimeout(resolve, 1));

const log = (text: string): FromWorker => ({ type: "log", level: "info", text });
const started = (task: number): FromWorker => ({ type: "task_started", task });
const texts = (stream: FakeStream) =>
  stream.writes.join("").trim().split("\n").map((line) => JSON.parse(line).text);

Deno.test("Channel writes the first messages of a burst at once, and the rest together", async () => {
  const stream = new FakeStream();
  const channel = new Channel(stream);
  const all = Array.from({ length: 100 }, (_, number) => `message ${number}`);
  all.forEach((text) => channel.send(log(text)));
  const atOnce = stream.writes.length;
  assert(atOnce >= 1 && atOnce < 10);
  const drained = channel.drain();
  await stream.acceptAll();
  await drained;
  assert.equal(stream.writes.length, atOnce + 1);
  assert.deepEqual(texts(stream), all);
});

Deno.test("Channel never mixes lines when a write is taken in parts", async () => {
  const stream = new FakeStream({ most: 1000 });
  const channel = new Channel(stream);
  const all = ["x".repeat(20_000), "small", "y".repeat(20_000)];
  all.forEach((text) => channel.send(log(text)));
  const drained = channel.drain();
  await stream.acceptAll();
  await drained;
  assert(texts(stream).join() === all.join());
});

Deno.test("Channel writes the rest of a burst a moment later", async () => {
  const stream = new FakeStream();
  const channel = new Channel(stream);
  const all = Array.from({ length: 20 }, (_, number) => `message ${number}`);
  all.forEach((text) => channel.send(log(text)));
  await stream.acceptAll();
  assert(texts(stream).length < all.length);
  await moment();
  assert.deepEqual(texts(stream), all);
});

Deno.test("Channel writes the ends of the tasks of each moment together until one is quiet", async () => {
  const stream = new FakeStream();
  const channel = new Channel(stream);
  const settle = (task: number) => channel.send({ type: "task_settled", task, outcome: "fulfilled" });
  settle(1);
  await stream.acceptAll();
  await moment();
  settle(2);
  settle(3);
  assert.equal(stream.writes.length, 1);
  await moment();
  assert.equal(stream.writes.length, 2);
  await stream.acceptAll();
  await moment();
  await moment();
  settle(4);
  assert.equal(stream.writes.length, 3);
  const told = stream.writes.join("").trim().split("\n").map((line) => JSON.parse(line).task);
  assert.deepEqual(told, [1, 2, 3, 4]);
});

Deno.test("Channel writes the first lines of each moment at once, whatever else there is to say", async () => {
  const stream = new FakeStream();
  const channel = new Channel(stream);
  for (const name of ["a", "b"]) {
    for (let task = 1; task < 10; task++) channel.send({ type: "task_settled", task, outcome: "fulfilled" });
    channel.send(log(`${name} line before it blocks`));
    assert.match(stream.writes.at(-1)!, new RegExp(`${name} line before it blocks`));
    await stream.acceptAll();
    await moment();
  }
});

Deno.test("Channel writes the start of a task at once, after what waited", () => {
  const stream = new FakeStream();
  const channel = new Channel(stream);
  const all: FromWorker[] = [];
  for (let number = 0; number < 100; number++) all.push(log("a"), log("b"), started(number));
  for (const message of all) {
    channel.send(message);
    if (message.type === "task_started") {
      assert.deepEqual(JSON.parse(stream.writes.join("").trim().split("\n").at(-1)!), message);
    }
  }
  assert.deepEqual(stream.writes.join("").trim().split("\n").map((line) => JSON.parse(line)), all);
});

Deno.test("Channel has a bounded number of writes under way", async () => {
  const stream = new FakeStream();
  const channel = new Channel(stream);
  const all = Array.from({ length: 10_000 }, (_, number) => started(number));
  all.forEach(channel.send);
  const atOnce = stream.writes.length;
  assert(atOnce > 100 && atOnce < 1000, `${atOnce}`);
  const drained = channel.drain();
  await stream.acceptAll();
  await drained;
  assert.equal(stream.writes.length, atOnce + 1);
  assert.deepEqual(stream.writes.join("").trim().split("\n").map((line) => JSON.parse(line)), all);
});

Deno.test("Channel waits while the kernel has no room", async () => {
  const stream = new FakeStream();
  const channel = new Channel(stream);
  const all = ["x".repeat(20_000), "y".repeat(20_000), "small"];
  all.forEach((text) => channel.send(log(text)));
  channel.send(started(1));
  await moment();
  assert.equal(stream.writes.length, 1);
  await stream.acceptAll();
  await moment();
  assert(texts(stream).join() === [...all, undefined].join());
});

Deno.test("Channel holds nothing back once the process is about to end", () => {
  const stream = new FakeStream();
  const channel = new Channel(stream);
  const all = Array.from({ length: 50 }, (_, number) => `message ${number}`);
  all.forEach((text) => channel.send(log(text)));
  channel.lastWords();
  channel.send(log("farewell"));
  assert.deepEqual(texts(stream), [...all, "farewell"]);
});

Deno.test("Channel reads messages however they were split", async () => {
  const sent = [{ type: "beforeunload", reason: "cpu" }, { type: "exit", note: "💡" }];
  const bytes = new TextEncoder().encode(sent.map((message) => JSON.stringify(message) + "\n").join(""));
  for (const size of [1, 3, bytes.length]) {
    const chunks = [];
    for (let at = 0; at < bytes.length; at += size) chunks.push(bytes.slice(at, at + size));
    const read = await Array.fromAsync(new Channel(new FakeStream({ chunks })).messages());
    assert.deepEqual(read, sent);
  }
});

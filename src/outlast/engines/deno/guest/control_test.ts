import assert from "node:assert/strict";
import { Channel, type Stream } from "./control.ts";
import type { FromWorker } from "./messages.ts";
import { Notes } from "./notes.ts";

const decoder = new TextDecoder();

/** Takes what is written when it is told to, and gives to read what it is given. */
class FakeStream implements Stream {
  writes: string[] = [];
  waiting: (() => void)[] = [];
  /** How many of the writes the kernel had room for. */
  taken = 0;
  #chunks: Uint8Array[];
  #most: number;
  #room: number;
  #left: number;

  constructor(
    { chunks = [], most = Infinity, room = Infinity }: {
      chunks?: Uint8Array[];
      most?: number;
      room?: number;
    } = {},
  ) {
    this.#chunks = chunks;
    this.#most = most;
    this.#room = this.#left = room;
  }

  read(into: Uint8Array): Promise<number | null> {
    const chunk = this.#chunks.shift();
    if (!chunk) return Promise.resolve(null);
    into.set(chunk);
    return Promise.resolve(chunk.length);
  }

  write(bytes: Uint8Array): Promise<number> {
    const taken = bytes.slice(0, this.#most);
    if (this.taken === this.writes.length && taken.length <= this.#left) {
      this.#left -= taken.length;
      this.taken++;
    }
    this.writes.push(decoder.decode(taken));
    return new Promise((resolve) => this.waiting.push(() => resolve(taken.length)));
  }

  async acceptAll(): Promise<void> {
    while (this.waiting.length > 0) {
      this.#left = this.#room;
      this.taken = this.writes.length;
      this.waiting.shift()!();
      for (let turn = 0; turn < 10; turn++) await null;
    }
  }
}

/** A channel with notes, and what the node would know if the process died now: `outlast.wire.notes`. */
class Rig {
  stream: FakeStream;
  #notes = "";
  #at = 0;
  channel: Channel;

  /** `room`: so many bytes the kernel takes before somebody reads. */
  constructor(room = Infinity) {
    this.stream = new FakeStream({ room });
    const notes = new Notes({
      writeSync: (bytes) => {
        this.#notes = this.#notes.slice(0, this.#at) + decoder.decode(bytes) +
          this.#notes.slice(this.#at + bytes.length);
        this.#at += bytes.length;
        return bytes.length;
      },
      seekSync: (offset) => this.#at = offset,
    });
    this.channel = new Channel(this.stream, notes);
  }

  known(): FromWorker[] {
    const received = messages(this.stream.writes.slice(0, this.stream.taken).join(""));
    const notes = [...this.#notes.matchAll(/^(\d+) (.*) \1$/gm)].filter(([, number]) =>
      Number(number) >= received.length
    );
    return [...received, ...notes.map(([, , line]) => JSON.parse(line))];
  }
}

/** Timers of the same length end in the order in which they were set: the channel's comes first. */
const moment = () => new Promise((resolve) => setTimeout(resolve, 1));

const log = (text: string): FromWorker => ({ type: "log", level: "info", text });
const started = (task: number): FromWorker => ({ type: "task_started", task });
const messages = (lines: string) =>
  lines.split("\n").filter(Boolean).map((line) => JSON.parse(line) as FromWorker);
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

Deno.test("Channel gathers the starts of tasks where they are noted", async () => {
  const { stream, channel } = new Rig();
  const all = Array.from({ length: 2000 }, (_, number) => started(number));
  all.forEach(channel.send);
  await stream.acceptAll();
  assert.equal(stream.writes.length, 0);
  await moment();
  assert(stream.writes.length > 1 && stream.writes.length < 10, `${stream.writes.length}`);
  assert.deepEqual(messages(stream.writes.join("")), all);
});

Deno.test("Channel writes the first lines at once after however many starts of tasks", () => {
  for (const count of [100, 1000, 10_000]) {
    const { stream, channel } = new Rig();
    const all = Array.from({ length: count }, (_, number) => started(number));
    for (let line = 0; line < 4; line++) all.push(log(`line ${line} ${"x".repeat(line * 1000)}`));
    all.forEach(channel.send);
    assert.deepEqual(messages(stream.writes.join("")), all);
  }
});

const ROOMS = { "": Infinity, ", while the kernel has little room": 1000, ", while it has none": 0 };

for (const [when, room] of Object.entries(ROOMS)) {
  Deno.test(`Channel has said each start of a task once, whenever the process dies${when}`, () =>
    saysEachOnce(room));
}

async function saysEachOnce(room: number): Promise<void> {
  const rig = new Rig(room);
  const all: FromWorker[] = [];
  const check = () => {
    const known = rig.known();
    const starts = (some: FromWorker[]) => some.filter(({ type }) => type === "task_started");
    assert.deepEqual(starts(known), starts(all));
    // Of the rest, what was said last may be missing.
    const others = (some: FromWorker[]) => some.filter(({ type }) => type !== "task_started");
    assert.deepEqual(others(known), others(all).slice(0, others(known).length));
  };
  const say = (message: FromWorker) => {
    all.push(message);
    rig.channel.send(message);
    check();
  };
  for (let turn = 0; turn < 9; turn++) {
    for (let number = 0; number < turn * 10; number++) {
      say(number % 5 < 4 ? started(number) : { type: "task_settled", task: number, outcome: "fulfilled" });
      if (number % 13 === 0) say(log(`${turn} ${"x".repeat(number * 20)}`));
      if (number % 29 === 28) await rig.stream.acceptAll();
      check();
    }
    if (turn % 3 === 0) await moment();
    check();
    if (turn % 2 === 0) await rig.stream.acceptAll();
    check();
  }
  for (let number = 0; number < 1000; number++) {
    all.push(started(number));
    rig.channel.send(started(number));
  }
  check();
  const drained = rig.channel.drain();
  await rig.stream.acceptAll();
  await drained;
  assert.deepEqual(messages(rig.stream.writes.join("")), all);
}

Deno.test("Channel writes the starts of tasks at once that could not be noted, after what waited", async () => {
  const stream = new FakeStream();
  let room = 1000;
  const writeSync = (bytes: Uint8Array) => {
    if ((room -= bytes.length) < 0) throw new Error("No space left on device");
    return bytes.length;
  };
  const channel = new Channel(stream, new Notes({ writeSync, seekSync: () => 0 }));
  const all = Array.from({ length: 100 }, (_, number) => started(number));
  all.forEach(channel.send);
  assert(stream.writes.length > 50, `${stream.writes.length}`);
  assert.deepEqual(messages(stream.writes.join("")), all);
  await stream.acceptAll();
  room = 1000;
  channel.send(started(100));
  assert.equal(messages(stream.writes.join("")).length, 100);
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
  assert(stream.writes.length < atOnce + 50, `${stream.writes.length}`);
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

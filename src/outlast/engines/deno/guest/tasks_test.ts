import assert from "node:assert/strict";
import * as context from "./context.ts";
import type { FromWorker } from "./messages.ts";
import { Tasks } from "./tasks.ts";

function make() {
  const sent: FromWorker[] = [];
  const rejected: [Promise<unknown>, unknown][] = [];
  const tasks = new Tasks({
    send: (message) => sent.push(message),
    onRejected: (promise, reason) => rejected.push([promise, reason]),
  });
  const settled = () => sent.filter((message) => message.type === "task_settled");
  return { sent, rejected, settled, waitUntil: tasks.waitUntil, tasks };
}

async function microtasks(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await null;
}

Deno.test("waitUntil() returns its argument and reports start and end", async () => {
  const { sent, waitUntil } = make();
  const { promise, resolve } = Promise.withResolvers<void>();
  assert.equal(context.run("r-1", () => waitUntil(promise, { name: "work" })), promise);
  assert.deepEqual(sent, [{
    type: "task_started",
    task: 1,
    name: "work",
    request: "r-1",
    unloading: undefined,
  }]);
  resolve();
  await microtasks();
  assert.deepEqual(sent[1], { type: "task_settled", task: 1, outcome: "fulfilled", error: undefined });
});

Deno.test("waitUntil() counts the same work once", async () => {
  const { settled, sent, waitUntil } = make();
  const promise = Promise.resolve();
  const thenable = Object.freeze({ then: (resolve: () => void) => resolve() });
  for (const work of [promise, thenable, promise, thenable]) assert.equal(waitUntil(work), work);
  await microtasks();
  waitUntil(promise);
  assert.equal(settled().length, 2);
  assert.equal(sent.length, 4);
});

Deno.test("waitUntil() calls a thenable once, and follows what it resolves to", async () => {
  const { settled, waitUntil } = make();
  const { promise, reject } = Promise.withResolvers<void>();
  let calls = 0;
  waitUntil({
    then(resolve: (value: unknown) => void) {
      calls++;
      resolve(promise);
    },
  });
  await microtasks();
  assert.equal(calls, 1);
  assert.equal(settled().length, 0);
  reject(new Error("late"));
  await microtasks();
  assert.partialDeepStrictEqual(settled(), [{ outcome: "rejected" }]);
});

Deno.test("waitUntil() takes a thenable whose `then` throws for a failure", async () => {
  const { settled, waitUntil } = make();
  waitUntil({
    then() {
      throw new Error("broken");
    },
  });
  await microtasks();
  assert.match(settled()[0].error!, /^Error: broken\n/);
});

Deno.test("waitUntil() warns once of what is no promise, and returns it", () => {
  const { sent, waitUntil } = make();
  for (const value of [undefined, null, 5, "text", {}, []]) assert.equal(waitUntil(value), value);
  assert.equal(sent.length, 1);
  assert.partialDeepStrictEqual(sent[0], { type: "log", level: "warning" });
  assert.match((sent[0] as { text: string }).text, /write EdgeRuntime\.waitUntil\(work\(\)\)/);
});

Deno.test("waitUntil() reports a failure with its stack and hands it on", async () => {
  const { rejected, settled, waitUntil } = make();
  const error = new TypeError("no");
  const promise = Promise.reject(error);
  waitUntil(promise);
  await microtasks();
  assert.match(settled()[0].error!, /^TypeError: no\n {4}at /);
  assert.deepEqual(rejected, [[promise, error]]);
});

Deno.test("waitUntil() calls a function, and names the task after it", async () => {
  const { sent, settled, waitUntil } = make();
  const returned = waitUntil(async function sendMail() {
    return await Promise.resolve(5);
  });
  assert.equal(await returned, 5);
  const failed = waitUntil(() => {
    throw new Error("at once");
  }) as Promise<unknown>;
  await assert.rejects(failed, /at once/);
  assert.partialDeepStrictEqual(sent[0], { name: "sendMail" });
  assert.deepEqual(settled().map((message) => message.outcome), ["fulfilled", "rejected"]);
});

Deno.test("waitUntil() reports the start before it calls the function", () => {
  const { sent, waitUntil } = make();
  waitUntil(() => assert.partialDeepStrictEqual(sent, [{ type: "task_started", name: "work" }]), {
    name: "work",
  });
  assert.equal(sent.length, 1);
});

Deno.test("waitUntil() aborts what is late, and ignores how it ends", async () => {
  const { rejected, settled, waitUntil } = make();
  const aborted = Promise.withResolvers<unknown>();
  const work = waitUntil((signal: AbortSignal) =>
    new Promise((_, reject) => {
      signal.addEventListener("abort", () => {
        aborted.resolve(signal.reason);
        reject(signal.reason);
      });
    }), { name: "slow", timeout: 1 }) as Promise<unknown>;
  const reason = await aborted.promise;
  await assert.rejects(work);
  await microtasks();
  assert(reason instanceof DOMException && reason.name === "TimeoutError");
  const error = 'TimeoutError: task "slow" took longer than 1 ms';
  assert.deepEqual(settled(), [{ type: "task_settled", task: 1, outcome: "timed_out", error }]);
  assert.deepEqual(rejected, []);
});

Deno.test("waitUntil() leaves no timer behind work that is in time", async () => {
  const { settled, waitUntil } = make();
  waitUntil(Promise.resolve(), { timeout: 60_000 });
  waitUntil(Promise.resolve(), { timeout: Number.MAX_SAFE_INTEGER });
  await microtasks();
  assert.deepEqual(settled().map((message) => message.outcome), ["fulfilled", "fulfilled"]);
});

Deno.test("waitUntil() refuses wrong options before it starts anything", () => {
  const { sent, waitUntil } = make();
  const wrong = [null, 5, { timeout: 0 }, { timeout: -1 }, { timeout: NaN }, { timeout: Infinity }, {
    timeout: "5",
  }, { name: 5 }];
  for (const options of wrong) {
    // deno-lint-ignore no-explicit-any
    assert.throws(() => waitUntil(Promise.resolve(), options as any), TypeError);
  }
  assert.deepEqual(sent, []);
});

Deno.test("waitUntil() keeps no account of time spent: 10,000 at once", async () => {
  const { settled, waitUntil } = make();
  const started = performance.now();
  for (let number = 0; number < 10_000; number++) waitUntil(Promise.resolve());
  const tookMs = performance.now() - started;
  await microtasks();
  assert.equal(settled().length, 10_000);
  assert(tookMs < 1000, `${tookMs} ms`);
});

Deno.test("startedBy() knows the tasks of the call, and no others", () => {
  const { tasks, waitUntil } = make();
  const [before, during, after] = [Promise.resolve(), Promise.resolve(), Promise.resolve()];
  waitUntil(before);
  const started = tasks.startedBy(() => waitUntil(during));
  waitUntil(after);
  assert.deepEqual(started, [during]);
  assert.equal(started[0], during);
});

Deno.test("startedBy() knows the tasks too that start later, in what the call has begun", async () => {
  const { tasks, waitUntil } = make();
  const late = Promise.resolve();
  const started = tasks.startedBy(async () => {
    await null;
    waitUntil(late);
  });
  assert.deepEqual(started, []);
  await microtasks();
  assert.deepEqual(started, [late]);
});

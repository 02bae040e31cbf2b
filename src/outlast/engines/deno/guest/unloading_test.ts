import assert from "node:assert/strict";
import { Tasks } from "./tasks.ts";
import { install, Unloading } from "./unloading.ts";

const names: (string | undefined)[] = [];
const tasks = new Tasks({
  send: (message) => message.type === "task_started" && names.push(message.name),
  onRejected() {},
});
install(tasks);

async function microtasks(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await null;
}

/** Listens until the test is over. */
function listening(listener: (event: CustomEvent) => unknown): Disposable {
  addEventListener("beforeunload", listener as EventListener);
  return { [Symbol.dispose]: () => removeEventListener("beforeunload", listener as EventListener) };
}

/** Whether a promise has settled, as a property. */
function watch(promise: Promise<unknown>): { done: boolean } {
  const state = { done: false };
  promise.then(() => state.done = true);
  return state;
}

Deno.test("tell() dispatches each reason once, and waits for what its listeners start", async () => {
  const unloading = new Unloading(tasks);
  const save = Promise.withResolvers<void>();
  const reasons: string[] = [];
  using _ = listening((event) => {
    assert(event instanceof CustomEvent);
    reasons.push(event.detail.reason);
    if (event.detail.reason === "memory") tasks.waitUntil(save.promise);
  });
  const memory = watch(unloading.tell("memory"));
  const again = watch(unloading.tell("memory"));
  const cpu = watch(unloading.tell("cpu"));
  await microtasks();
  assert.deepEqual([memory.done, again.done, cpu.done], [false, false, true]);
  save.resolve();
  await microtasks();
  assert.deepEqual([memory.done, again.done], [true, true]);
  assert.deepEqual(reasons, ["memory", "cpu"]);
});

Deno.test("an async listener is waited for, and what it starts late too", async () => {
  const [first, second, third] = [1, 2, 3].map(() => Promise.withResolvers<void>());
  names.length = 0;
  using _ = listening(async function save() {
    await first.promise;
    tasks.waitUntil(second.promise.then(() => tasks.waitUntil(third.promise, { name: "third" })), {
      name: "second",
    });
  });
  const told = watch(new Unloading(tasks).tell("cpu"));
  for (const next of [first, second, third]) {
    await microtasks();
    assert.equal(told.done, false);
    next.resolve();
  }
  await microtasks();
  assert.equal(told.done, true);
  assert.deepEqual(names, ["beforeunload listener save", "second", "third"]);
});

Deno.test("a listener is known again, in whatever form", () => {
  const calls: unknown[] = [];
  const tell = () => new Unloading(tasks).tell("early_drop");
  const listener = (event: Event) => calls.push(event.type);
  const object = {
    handleEvent() {
      calls.push(this === object);
    },
  };
  addEventListener("beforeunload", listener);
  addEventListener("beforeunload", listener);
  addEventListener("beforeunload", object, { once: true });
  addEventListener("beforeunload", null as unknown as EventListener);
  onbeforeunload = listener;
  assert.equal(onbeforeunload, listener);
  tell();
  assert.deepEqual(calls, ["beforeunload", true, "beforeunload"]);
  removeEventListener("beforeunload", listener);
  tell();
  assert.equal(calls.length, 4);
  onbeforeunload = null;
  assert.equal(onbeforeunload, null);
  tell();
  assert.equal(calls.length, 4);
});

Deno.test("an aborted signal removes a listener", () => {
  let calls = 0;
  const controller = new AbortController();
  addEventListener("beforeunload", () => calls++, { signal: controller.signal });
  new Unloading(tasks).tell("cpu");
  controller.abort();
  new Unloading(tasks).tell("cpu");
  assert.equal(calls, 1);
});

Deno.test("listeners of other events are left as they are", () => {
  const calls: string[] = [];
  const listener = (event: Event) => calls.push(event.type);
  addEventListener("other", listener, { once: true });
  dispatchEvent(new Event("other"));
  dispatchEvent(new Event("other"));
  assert.deepEqual(calls, ["other"]);
});

Deno.test("what Deno dispatches of itself is not heard", () => {
  using _ = listening(() => assert.fail("heard"));
  dispatchEvent(new Event("beforeunload", { cancelable: true }));
});

import assert from "node:assert/strict";
import process from "node:process";
import { dispatchRejection } from "./events.ts";

/** Listens while `action` runs. */
async function listening(
  type: string,
  listener: (event: Event) => void,
  action: () => void | Promise<void>,
): Promise<void> {
  addEventListener(type, listener);
  try {
    await action();
  } finally {
    removeEventListener(type, listener);
  }
}

Deno.test("dispatchRejection() tells whether a listener handled it", async () => {
  const reason = new Error("no");
  const promise = Promise.reject(reason);
  promise.catch(() => {});
  assert.equal(dispatchRejection(promise, reason), true);

  const heard: Event[] = [];
  const listener = (event: Event) => {
    heard.push(event);
    event.preventDefault();
  };
  await listening("unhandledrejection", listener, () => {
    assert.equal(dispatchRejection(promise, reason), false);
  });
  const [event] = heard as PromiseRejectionEvent[];
  assert(event instanceof PromiseRejectionEvent);
  assert.equal(event.promise, promise);
  assert.equal(event.reason, reason);
});

Deno.test("dispatchRejection() does not call a listener for what it started itself", async () => {
  let calls = 0;
  const inner: boolean[] = [];
  const listener = () => {
    calls++;
    inner.push(dispatchRejection(Promise.resolve(), "again"));
  };
  await listening("unhandledrejection", listener, () => {
    dispatchRejection(Promise.resolve(), "first");
  });
  assert.equal(calls, 1);
  assert.deepEqual(inner, [true]);
});

Deno.test("dispatchRejection() asks the listeners of node:process what no other has handled", async () => {
  const heard: unknown[] = [];
  const nodeListener = (reason: unknown, promise: unknown) => {
    heard.push(reason, promise);
    heard.push(dispatchRejection(Promise.resolve(), "again"));
  };
  process.on("unhandledRejection", nodeListener);
  try {
    const promise = Promise.resolve();
    assert.equal(dispatchRejection(promise, "lost"), false);
    assert.deepEqual(heard, ["lost", promise, true]);
    await listening("unhandledrejection", (event) => event.preventDefault(), () => {
      assert.equal(dispatchRejection(promise, "handled"), false);
    });
    assert.equal(heard.length, 3);
  } finally {
    process.off("unhandledRejection", nodeListener);
  }
  assert.equal(dispatchRejection(Promise.resolve(), "lost"), true);
});

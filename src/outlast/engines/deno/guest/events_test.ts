import assert from "node:assert/strict";
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

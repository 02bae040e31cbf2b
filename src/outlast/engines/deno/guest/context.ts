/** The request that the running code belongs to, in its handler and in everything that the handler has started. */

import { AsyncLocalStorage } from "node:async_hooks";

const ids = new AsyncLocalStorage<string>();

/** Calls `action(...args)` in the context of this request. */
export function run<Args extends unknown[], Result>(
  id: string,
  action: (...args: Args) => Result,
  ...args: Args
): Result {
  return ids.run(id, action, ...args);
}

/** What the running code does from now on belongs to this request. */
export function enter(id: string): void {
  ids.enterWith(id);
}

/** `undefined` outside requests, so that messages leave the field out. */
export function requestId(): string | undefined {
  return ids.getStore() || undefined;
}

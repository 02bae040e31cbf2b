/** What Deno would keep on disk, in its cache: functions cannot write there, and Deno's own errors say nothing of that. */

import { INSTEAD } from "./hints.ts";

type Call = (...args: unknown[]) => Promise<unknown>;

const KV =
  `Deno.openKv() without a path is not available: functions cannot write to Deno's cache, where that would lie; ` +
  `${INSTEAD}, and anything else in Deno.openKv(":memory:")`;
const CACHES = `caches is not available: functions cannot write to Deno's cache, where it would lie; ` +
  `${INSTEAD}, and anything else in a variable`;

export function install(): void {
  // It throws even if a package only looks whether it exists.
  delete (globalThis as { localStorage?: Storage }).localStorage;
  wrap(globalThis, "caches", (caches: Record<string, Call>) => {
    for (const name of ["open", "has", "delete", "keys", "match"]) {
      if (name in caches) caches[name] = explained(caches[name].bind(caches), CACHES);
    }
    return caches;
  });
  wrap(Deno, "openKv", (openKv: Call): Call => {
    const unnamed = explained(openKv, KV);
    return (path) => path === undefined ? unnamed() : openKv(path);
  });
}

function wrap<T>(owner: object, name: string, wrapped: (found: T) => T): void {
  const property = Object.getOwnPropertyDescriptor(owner, name);
  const get = property?.get;
  if (get === undefined) return;
  let made: T | undefined;
  // Deno loads it when it is first looked at, which takes milliseconds.
  Object.defineProperty(owner, name, { ...property, get: () => made ??= wrapped(get.call(owner)) });
}

function explained(call: Call, why: string): Call {
  return async (...args) => {
    try {
      return await call(...args);
    } catch (cause) {
      // That is about the arguments.
      if (cause instanceof TypeError) throw cause;
      throw new Deno.errors.NotSupported(why, { cause });
    }
  };
}

/**
 * `beforeunload`: tells user code why its worker is about to end.
 *
 * A listener may be `async`: what it returns is waited for, like what it passes to `waitUntil`. Since `dispatchEvent`
 * does not reveal what listeners return, each is registered with a wrapper around it.
 */

import type { UnloadReason } from "./messages.ts";
import type { Tasks } from "./tasks.ts";

// User code may replace them, with classes whose events are none for Deno.
const { CustomEvent, dispatchEvent } = globalThis;

type Callback = (this: unknown, event: Event) => unknown;
type Listener = Callback | { handleEvent: Callback } | null;

const own = new WeakSet<Event>();

/** Call before the user's code can register listeners. */
export function install(tasks: Tasks): void {
  addEventListener("beforeunload", (event) => {
    // Deno also dispatches this by itself, when its event loop runs empty.
    if (!own.has(event)) event.stopImmediatePropagation();
  });

  const wrappers = new WeakMap<object, Callback>();
  /** Always the same wrapper for a listener, so that it can be added twice or removed. */
  const wrapped = (type: string, listener: Listener): Listener => {
    if (type !== "beforeunload" || listener === null || !/^(function|object)$/.test(typeof listener)) {
      return listener;
    }
    let wrapper = wrappers.get(listener);
    if (wrapper === undefined) {
      wrapper = function (event) {
        const result = typeof listener === "function"
          ? listener.call(this, event)
          : listener.handleEvent(event);
        if (result instanceof Promise) {
          const name = typeof listener === "function" ? listener.name : "";
          tasks.waitUntil(result, { name: `beforeunload listener ${name}`.trimEnd() });
        }
        return result;
      };
      wrappers.set(listener, wrapper);
      // An aborted signal has Deno remove the wrapper itself, by the method below.
      wrappers.set(wrapper, wrapper);
    }
    return wrapper;
  };

  for (const method of ["addEventListener", "removeEventListener"] as const) {
    const native = globalThis[method] as (type: string, listener: unknown, ...rest: unknown[]) => void;
    Object.defineProperty(globalThis, method, {
      value(type: string, listener: Listener, ...rest: unknown[]) {
        return native.call(globalThis, type, wrapped(type, listener), ...rest);
      },
      configurable: true,
      writable: true,
    });
  }

  const attribute = Object.getOwnPropertyDescriptor(globalThis, "onbeforeunload")!;
  let assigned: unknown;
  Object.defineProperty(globalThis, "onbeforeunload", {
    ...attribute,
    get: () => assigned ?? null,
    set(listener: unknown) {
      assigned = typeof listener === "function" ? listener : null;
      attribute.set!.call(globalThis, wrapped("beforeunload", assigned as Listener));
    },
  });
}

export class Unloading {
  #tasks: Tasks;
  #told = new Map<UnloadReason, Promise<void>>();

  constructor(tasks: Tasks) {
    this.#tasks = tasks;
  }

  /**
   * Dispatches the event, at most once for each reason. Settles when its listeners are done, including async ones and
   * what they pass to `waitUntil`.
   */
  tell(reason: UnloadReason): Promise<void> {
    let told = this.#told.get(reason);
    if (told === undefined) {
      const event = new CustomEvent("beforeunload", { detail: { reason }, cancelable: true });
      own.add(event);
      told = settled(this.#tasks.startedBy(() => dispatchEvent(event)));
      this.#told.set(reason, told);
    }
    return told;
  }
}

/** Also waits for promises that are added meanwhile. */
async function settled(promises: Promise<unknown>[]): Promise<void> {
  for (let done = 0; done < promises.length;) {
    const next = promises.slice(done);
    done = promises.length;
    await Promise.allSettled(next);
  }
}

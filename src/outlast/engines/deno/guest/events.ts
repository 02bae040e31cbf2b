/**
 * The events that user code hears of errors.
 *
 * Deno ends the process after an error that nobody handled; here it must not take the other requests and tasks along. So
 * the first listener, registered before any of the user's, stops each such event and sends a copy round instead. Whether
 * a listener prevented the copy decides what becomes of the error.
 */

import { AsyncLocalStorage } from "node:async_hooks";
import { requestId } from "./context.ts";
import { describe } from "./describe.ts";
import { internals } from "./internals.ts";
import type { Send } from "./messages.ts";

/** What a listener of these events starts: its own failures are reported, but not sent round again. */
const insideListener = new AsyncLocalStorage<boolean>();

// User code may replace them, with classes whose events are none for Deno.
const { dispatchEvent, ErrorEvent, Event, PromiseRejectionEvent, queueMicrotask, reportError } = globalThis;

const copies = new WeakSet<Event>();

/** False when a listener has prevented it: handled. */
function sendRound(event: Event): boolean {
  copies.add(event);
  return insideListener.run(true, () => dispatchEvent(event));
}

/** True when nobody handled it. */
export function dispatchRejection(promise: Promise<unknown>, reason: unknown): boolean {
  if (insideListener.getStore()) return true;
  const event = new PromiseRejectionEvent("unhandledrejection", { promise, reason, cancelable: true });
  return sendRound(event) && insideListener.run(true, () => passToNode(event));
}

interface NodeInternals {
  nodeProcessUnhandledRejectionCallback(event: PromiseRejectionEvent): void;
}

/**
 * To the listeners that `process.on` has added, if any: Deno calls them for no event that is prevented, as the original
 * was. False when they have handled it.
 */
function passToNode(event: PromiseRejectionEvent): boolean {
  try {
    internals<NodeInternals>().nodeProcessUnhandledRejectionCallback?.(event);
  } catch (error) {
    reportError(error);
  }
  return !event.defaultPrevented;
}

export interface ErrorHooks {
  send: Send;
  /** True when the rejection is how the evaluation of the function's module failed, which is told elsewhere. */
  isBootFailure(): Promise<boolean>;
  /** True while `unload` is dispatched: nothing comes after it. */
  isEnding(): boolean;
}

/** Deno dispatches these by whatever `globalThis.dispatchEvent` is, and ends the process if that does not work. */
const DENO_DISPATCHES = new Set([
  "load",
  "beforeunload",
  "unload",
  "error",
  "unhandledrejection",
  "rejectionhandled",
]);

/** What user code puts in the place of `dispatchEvent` gets all events but those. */
function keepDispatch(): void {
  let current = dispatchEvent;
  Object.defineProperty(globalThis, "dispatchEvent", {
    get: () => current,
    set(replacement: typeof dispatchEvent) {
      current = (event) => {
        const isDenos = event instanceof Event && DENO_DISPATCHES.has(event.type);
        return isDenos ? dispatchEvent(event) : replacement.call(globalThis, event);
      };
    },
    configurable: true,
  });
}

/** Call before any other listener is registered. */
export function install({ send, isBootFailure, isEnding }: ErrorHooks): void {
  keepDispatch();
  const stop = (event: Event) => {
    event.preventDefault();
    event.stopImmediatePropagation();
  };

  addEventListener("unhandledrejection", async (event) => {
    if (copies.has(event)) return;
    stop(event);
    if (await isBootFailure()) return;
    if (dispatchRejection(event.promise, event.reason)) {
      send({ type: "uncaught", error: describe(event.reason), request: requestId() });
    }
  });

  addEventListener("error", (event) => {
    if (copies.has(event)) return;
    stop(event);
    const { message, filename, lineno, colno, error } = event;
    const copy = new ErrorEvent("error", { message, filename, lineno, colno, error, cancelable: true });
    const report = () => send({ type: "uncaught", error: describe(error ?? message), request: requestId() });
    if (insideListener.getStore() || isEnding()) report();
    // Not in here: a listener that throws while Deno dispatches the original would end the process.
    else queueMicrotask(() => sendRound(copy) && report());
  });
}

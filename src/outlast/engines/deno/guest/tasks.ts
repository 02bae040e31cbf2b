/** Background tasks: the work passed to `EdgeRuntime.waitUntil`. */

import { AsyncLocalStorage } from "node:async_hooks";
import { requestId } from "./context.ts";
import { describe } from "./describe.ts";
import type { Send, TaskOutcome } from "./messages.ts";

const { setTimeout, clearTimeout } = globalThis;
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

export interface WaitUntilOptions {
  name?: string;
  /** Milliseconds. */
  timeout?: number;
}

type Start = (signal: AbortSignal) => unknown;

export interface TaskHooks {
  send: Send;
  /** Called once for each task that fails. */
  onRejected(promise: Promise<unknown>, reason: unknown): void;
}

class Itself {
  constructor(object: object) {
    return object;
  }
}

/** The work that is a task already: it gets a private field, in a seventh of the time that a `WeakSet` takes. */
class Known extends Itself {
  #isTask = true;

  static add(work: object): void {
    new Known(work);
  }

  static has(work: object): boolean {
    return #isTask in work;
  }
}

export class Tasks {
  #hooks: TaskHooks;
  #lastId = 0;
  #collected = new AsyncLocalStorage<Promise<unknown>[]>();
  #warned = false;

  constructor(hooks: TaskHooks) {
    this.#hooks = hooks;
  }

  /**
   * Returns its argument; for a function, the promise of its result.
   * Throws `TypeError` for invalid options.
   */
  waitUntil = (work: unknown, options?: WaitUntilOptions): unknown => {
    check(options);
    if (isThenable(work)) {
      // The same promise passed twice is one task.
      if (!Known.has(work)) {
        Known.add(work);
        const name = options?.name ?? "";
        this.#watch(this.#announce(name), adopt(work), name, options?.timeout);
      }
      return work;
    }
    if (typeof work === "function") return this.#start(work as Start, options);
    this.#warn(work);
    return work;
  };

  /**
   * The tasks that `action`, which calls the `beforeunload` listeners, starts. Tasks that these start later are added.
   * The node is told of each that a listener started it.
   */
  startedBy(action: () => void): Promise<unknown>[] {
    const collected: Promise<unknown>[] = [];
    this.#collected.run(collected, action);
    return collected;
  }

  #start(start: Start, options?: WaitUntilOptions): Promise<unknown> {
    const controller = new AbortController();
    const name = options?.name ?? start.name;
    // Announced before any of its code runs: should that end the process, the task has a record.
    const task = this.#announce(name);
    const promise = new Promise((resolve) => resolve(start(controller.signal)));
    Known.add(promise);
    this.#watch(task, promise, name, options?.timeout, controller);
    return promise;
  }

  /** Returns the task's number. */
  #announce(name: string): number {
    const task = ++this.#lastId;
    const unloading = this.#collected.getStore() === undefined ? undefined : true;
    this.#hooks.send({
      type: "task_started",
      task,
      name: name || undefined,
      request: requestId(),
      unloading,
    });
    return task;
  }

  #watch(
    task: number,
    promise: Promise<unknown>,
    name: string,
    timeoutMs?: number,
    controller?: AbortController,
  ): void {
    this.#collected.getStore()?.push(promise);

    let open = true;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const settle = (outcome: TaskOutcome, error?: string): boolean => {
      if (!open) return false;
      open = false;
      if (timer !== undefined) clearTimeout(timer);
      this.#hooks.send({ type: "task_settled", task, outcome, error });
      return true;
    };

    if (timeoutMs !== undefined && timeoutMs <= MAX_TIMEOUT_MS) {
      timer = setTimeout(() => {
        const late = `${name ? `task "${name}"` : "the task"} took longer than ${timeoutMs} ms`;
        settle("timed_out", `TimeoutError: ${late}`);
        controller?.abort(new DOMException(late, "TimeoutError"));
      }, timeoutMs);
    }
    promise.then(
      () => settle("fulfilled"),
      (reason) => {
        if (settle("rejected", describe(reason))) this.#hooks.onRejected(promise, reason);
      },
    );
  }

  #warn(work: unknown): void {
    if (this.#warned) return;
    this.#warned = true;
    const text = `EdgeRuntime.waitUntil was given ${work === null ? "null" : typeof work}, which is not a ` +
      "promise, so there is nothing to wait for: write EdgeRuntime.waitUntil(work()), where work is async";
    this.#hooks.send({ type: "log", level: "warning", text, request: requestId() });
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return value !== null && (typeof value === "object" || typeof value === "function") &&
    typeof (value as { then?: unknown }).then === "function";
}

/** Calls `then` once. A query of supabase-js, for instance, does its work each time that `then` is called. */
function adopt(work: PromiseLike<unknown>): Promise<unknown> {
  return work instanceof Promise ? work : new Promise((resolve, reject) => work.then(resolve, reject));
}

function check(options: unknown): void {
  if (options === undefined) return;
  if (options === null || typeof options !== "object") {
    throw new TypeError("waitUntil: options must be an object, such as { name, timeout }");
  }
  const { name, timeout } = options as Record<string, unknown>;
  if (name !== undefined && typeof name !== "string") {
    throw new TypeError(`waitUntil: name must be a string, not ${typeof name}`);
  }
  if (timeout !== undefined && !(typeof timeout === "number" && timeout > 0 && Number.isFinite(timeout))) {
    throw new TypeError(
      `waitUntil: timeout must be a positive number of milliseconds, not ${describe(timeout)}`,
    );
  }
}

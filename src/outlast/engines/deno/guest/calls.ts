/** The calls of handlers that have not answered yet, and what becomes of one when nobody waits for its answer any more. */

import * as context from "./context.ts";
import type { Tasks } from "./tasks.ts";

const { setTimeout } = globalThis;

/**
 * The event loop turns so often, each time after so long, before the call of an abandoned request is a task. By then a
 * handler that heeds its `signal` is done, and a request has begun that came later than this news, by another socket.
 */
const TURNS_TO_RETURN = 4;
const TURN_MS = 5;

type Task = PromiseWithResolvers<void>;

export class Calls {
  #waitUntil: Tasks["waitUntil"];
  /** The requests, by their ids. */
  #running = new Map<string, Request>();
  /** The running ones that are tasks. */
  #tasks = new Map<string, Task>();

  constructor(waitUntil: Tasks["waitUntil"]) {
    this.#waitUntil = waitUntil;
  }

  begin(id: string, request: Request): void {
    this.#running.set(id, request);
  }

  /** It has answered. */
  end(id: string): void {
    this.#running.delete(id);
    if (this.#tasks.size > 0) this.#taskOf(id)?.resolve();
  }

  /** It has failed. Returns whether that is the failure of a task, and reported as such. */
  fail(id: string, error: unknown): boolean {
    this.#running.delete(id);
    const task = this.#taskOf(id);
    task?.reject(error);
    return task !== undefined;
  }

  /** Nobody waits for the answer to this request any more. Settles when its call has had the time to return. */
  async abandon(id: string): Promise<void> {
    for (let turn = 0; turn < TURNS_TO_RETURN; turn++) {
      await new Promise<void>((resolve) => setTimeout(resolve, TURN_MS));
    }
    this.#goOn(id);
  }

  /** Nobody waits for any answer. */
  abandonAll(): void {
    for (const id of this.#running.keys()) this.#goOn(id);
  }

  #goOn(id: string): void {
    const request = this.#running.get(id);
    if (request === undefined || this.#tasks.has(id)) return;
    const task = Promise.withResolvers<void>();
    this.#tasks.set(id, task);
    context.run(id, this.#waitUntil, task.promise, { name: `${request.method} ${pathOf(request.url)}` });
  }

  #taskOf(id: string): Task | undefined {
    const task = this.#tasks.get(id);
    this.#tasks.delete(id);
    return task;
  }
}

/** A `URL` refuses some hosts that clients may name. */
function pathOf(url: string): string {
  return url.replace(/^[^/]*\/\/[^/?#]*/, "").split(/[?#]/, 1)[0];
}

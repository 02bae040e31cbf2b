// What a function finds in scope besides Deno's own names.

interface WaitUntilOptions {
  /** What the log and every record call the task. */
  name?: string;
  /** Milliseconds after which the task's outcome is `timed_out`. No limit of its own where it is left out. */
  timeout?: number;
}

declare namespace EdgeRuntime {
  /** Keeps the worker until `promise` has settled; the response does not wait for it. Returns its argument. */
  function waitUntil<Task extends PromiseLike<unknown>>(promise: Task, options?: WaitUntilOptions): Task;
  /** The same for work that can stop when its `timeout` has passed: `signal` aborts then. */
  function waitUntil<Value>(
    start: (signal: AbortSignal) => PromiseLike<Value>,
    options?: WaitUntilOptions,
  ): Promise<Value>;
}

interface BeforeUnloadDetail {
  reason: "wall_clock" | "cpu" | "memory" | "early_drop" | "termination";
}

/** Heard at most once for each reason, shortly before the worker ends. `waitUntil` in it gives it time to finish. */
declare function addEventListener(
  type: "beforeunload",
  listener: (event: CustomEvent<BeforeUnloadDetail>) => unknown,
): void;

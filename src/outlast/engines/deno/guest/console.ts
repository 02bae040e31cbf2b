/** Sends what `console` prints to the node, each line with its level and request. */

import { requestId } from "./context.ts";
import { hinted } from "./hints.ts";
import { internals } from "./internals.ts";
import type { Level, Send } from "./messages.ts";

type Print = (text: string, level: number) => void;
type ConsoleClass = new (print: Print) => Console;

/** Indexed by the numbers that Deno's console passes to its `print`; 4 is `console.trace`. */
const LEVELS: Level[] = ["debug", "info", "warning", "error", "error"];

/**
 * Replaces every method of the global `console`. The formatting is Deno's own, whose class takes a `print`. A release
 * without that class keeps its console, and the node reads the process's output instead, without request ids.
 */
export function install(send: Send): void {
  const DenoConsole = denoConsole();
  if (!DenoConsole) return;
  Object.assign(console, new DenoConsole(printTo(send)), { clear() {} });
}

/** Exported for its tests. */
export function denoConsole(): ConsoleClass | undefined {
  return internals<{ Console: ConsoleClass }>().Console;
}

/** Exported for its tests. */
export function printTo(send: Send): Print {
  return (printed, number) => {
    const line = printed.endsWith("\n") ? printed.slice(0, -1) : printed;
    // What loggers write as JSON stays JSON.
    const text = line.startsWith('{"') ? line : hinted(line);
    // `trace` prints its text and its newline separately.
    if (number === 4 && text === "") return;
    send({ type: "log", level: LEVELS[number] ?? "info", text, request: requestId() });
  };
}

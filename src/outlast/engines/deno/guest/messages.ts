/** The messages between node and worker, as `outlast.wire.messages` defines them: one JSON object a line. */

export type UnloadReason = "wall_clock" | "cpu" | "memory" | "early_drop" | "termination";

export type ToWorker =
  | { type: "boot"; function: string; entrypoint: string }
  | { type: "beforeunload"; reason: UnloadReason }
  | { type: "exit" }
  | { type: "abandoned"; request: string }
  | Ping;

export type Ping = { type: "ping"; number: number; no_clients?: true };

export type Level = "debug" | "info" | "warning" | "error";

/** A field that is `undefined` is left out of the line. */
export type FromWorker =
  | { type: "ready"; socket?: "node.sock" }
  | { type: "boot_failed"; error: string }
  | { type: "task_started"; task: number; name?: string; request?: string; unloading?: true }
  | { type: "task_settled"; task: number; outcome: TaskOutcome; error?: string }
  | { type: "log"; level: Level; text: string; request?: string }
  | { type: "uncaught"; error: string; request?: string }
  | { type: "unloaded"; reason: UnloadReason }
  | { type: "pong"; number: number };

export type TaskOutcome = "fulfilled" | "rejected" | "timed_out";

export type Send = (message: FromWorker) => void;

const { stringify } = JSON;
const encoder = new TextEncoder();

/** The node limits a line to 1 MiB, of which the rest of the message needs a little. */
const MAX_TEXT_BYTES = 1000 * 1024;
const MAX_TEXT_CHARS = 256 * 1024;
const MAX_NAME_CHARS = 1024;
const UNLOADING = ',"unloading":true';

/** One line, including the newline. */
export function encode(message: FromWorker): string {
  const line = ofTask(message);
  if (line !== undefined) return line;
  const json = stringify(message);
  // Most messages are short and well-formed. `\ud` is how JSON writes a lone surrogate, which the node refuses.
  if (json.length < 64 * 1024 && !json.includes("\\ud")) return json + "\n";
  const limits: Record<string, number> = { text: MAX_TEXT_CHARS, error: MAX_TEXT_CHARS };
  return stringify(
    message,
    (key, value) => typeof value === "string" ? cut(value, limits[key] ?? MAX_NAME_CHARS) : value,
  ) + "\n";
}

/** A field whose value many messages have, one after the other: it is made into JSON once. */
class Field {
  #name: string;
  #value: string | undefined;
  #json = "";

  constructor(name: string) {
    this.#name = name;
  }

  of(value: string | undefined): string {
    if (value !== this.#value) {
      this.#value = value;
      this.#json = value === undefined ? "" : `,"${this.#name}":${stringify(cut(value, MAX_NAME_CHARS))}`;
    }
    return this.#json;
  }
}

const name = new Field("name");
const request = new Field("request");

/** The most frequent messages, which take a third of the time when put together here. */
function ofTask(message: FromWorker): string | undefined {
  if (message.type === "task_settled" && message.error === undefined) {
    return `{"type":"task_settled","task":${message.task},"outcome":"${message.outcome}"}\n`;
  }
  if (message.type === "task_started") {
    const fields = name.of(message.name) + request.of(message.request);
    return `{"type":"task_started","task":${message.task}${fields}${message.unloading ? UNLOADING : ""}}\n`;
  }
}

function cut(text: string, maxChars: number): string {
  let kept = text.slice(0, maxChars).toWellFormed();
  // A character takes up to six bytes in JSON, so even few characters can make too long a line.
  while (encoder.encode(stringify(kept)).length > MAX_TEXT_BYTES) {
    kept = kept.slice(0, kept.length / 2).toWellFormed();
  }
  return kept.length < text.length ? `${kept}\n[cut: it had ${text.length} characters]` : kept;
}

/** `Supabase.ai.Session`, as far as it passes prompts on to a model server. */

const GTE_SMALL = "gte-small";

interface Options {
  /** @default {false} */
  stream?: boolean;
  /** Which API the server has. @default {"ollama"} */
  mode?: "ollama" | "openaicompatible";
  /** Seconds. @default {60} */
  timeout?: number;
  signal?: AbortSignal;
}

type Message = Record<string, unknown>;

class Session {
  #model: string;
  #host = Deno.env.get("AI_INFERENCE_API_HOST");

  constructor(model: string) {
    this.#model = model;
  }

  /** Settles with the server's answer; with `stream`, with an iterable of all of its parts. */
  async run(prompt: unknown, options: Options = {}): Promise<Message | AsyncIterable<Message>> {
    const { stream = false, mode = "ollama", timeout = 60, signal } = options;
    if (this.#model === GTE_SMALL) throw this.#refusal("call an API for embeddings instead");
    if (!this.#host) {
      throw this.#refusal("set AI_INFERENCE_API_HOST to the URL of a server that does, such as Ollama");
    }
    const [path, content] = mode === "ollama"
      ? ["/api/generate", { prompt }]
      : ["/v1/chat/completions", prompt as Message];
    const response = await fetch(new URL(path, this.#host), {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ ...content, model: this.#model, stream }),
      signal: AbortSignal.any([AbortSignal.timeout(timeout * 1000), ...(signal ? [signal] : [])]),
    });
    if (!response.ok) {
      throw new Error(`${response.url} answered ${response.status}: ${await response.text()}`);
    }
    return stream ? messages(response.body!) : await response.json();
  }

  #refusal(remedy: string): Error {
    const session = `Supabase.ai.Session(${JSON.stringify(this.#model)})`;
    return new Deno.errors.NotSupported(`${session} is not available: Outlast runs no models; ${remedy}`);
  }
}

export function install(): void {
  const value = { ai: { Session } };
  Object.defineProperty(globalThis, "Supabase", { value, configurable: true, writable: true });
}

/** One a line; where it is an event, after `data:`. */
async function* messages(body: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<Message> {
  for await (const line of lines(body)) {
    if (/^(:|event:|id:|retry:)/.test(line)) continue;
    const text = line.replace(/^data:/, "").trim();
    if (text === "[DONE]") return;
    if (text !== "") yield JSON.parse(text);
  }
}

async function* lines(body: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string> {
  let rest = "";
  for await (const text of body.pipeThrough(new TextDecoderStream())) {
    const found = (rest + text).split("\n");
    rest = found.pop()!;
    yield* found;
  }
  yield rest;
}

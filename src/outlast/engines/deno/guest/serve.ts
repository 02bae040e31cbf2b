/** `Deno.serve` as the function sees it. The one real server listens on the worker's socket and calls `dispatch`. */

import type { Calls } from "./calls.ts";
import * as context from "./context.ts";
import { describe } from "./describe.ts";
import type { Level, Send } from "./messages.ts";
import { idOf, ServeInfo } from "./request.ts";
import * as streams from "./streams.ts";
import { answer } from "./warm_up.ts";
import * as websockets from "./websockets.ts";

type Answer = Response | Promise<Response>;
type Handler = (request: Request, info: Deno.ServeHandlerInfo<Deno.NetAddr>) => Answer;

/** The options of all call forms of `Deno.serve`. */
interface Options {
  handler?: Handler;
  fetch?: Handler;
  hostname?: string;
  port?: number;
  path?: string;
  signal?: AbortSignal;
  onListen?: (address: Deno.Addr) => void;
  onError?: (error: unknown) => Answer;
}

// User code may replace the global class with one of its own, whose instances are also instances of this one.
const NativeResponse = Response;

export class Serving {
  #send: Send;
  #calls: Calls;
  #onHandler: () => void;
  #warmingUp = new Server(answer, {});
  #current = this.#warmingUp;

  /** `onHandler` is called whenever there is a new handler to send requests to. */
  constructor(send: Send, calls: Calls, onHandler: () => void) {
    this.#send = send;
    this.#calls = calls;
    this.#onHandler = onHandler;
  }

  get hasHandler(): boolean {
    return this.#current !== this.#warmingUp;
  }

  /** Takes every call form of `Deno.serve`; the last call wins. */
  serve = (first: Options | Handler, second?: Options | Handler): Deno.HttpServer => {
    const server = new Server(...parse(first, second));
    if (this.hasHandler && !this.#current.stopped) {
      this.#log("warning", "Deno.serve was called again: from now on its last handler answers every request");
    }
    this.#current = server;
    this.#onHandler();
    return server;
  };

  dispatch = (request: Request, native: Deno.ServeHandlerInfo): Answer => {
    const server = this.#current;
    if (server.stopped) return new Response("Server is shut down", { status: 503 });
    const id = idOf(request);
    let answer: Answer;
    try {
      answer = context.run(id, server.handler, request, new ServeInfo(request, native));
    } catch (error) {
      answer = Promise.reject(error);
    }
    if (answer instanceof NativeResponse) return this.#checked(answer, request, id);
    this.#calls.begin(id, request);
    return Promise.resolve(answer).then(
      (response) => this.#answered(response, request, id),
      (error) => this.#failed(error, request, id, server.onError),
    );
  };

  /** No request has a client any more. One that still comes need not begin. */
  abandonAll(): void {
    this.#current.stopped = true;
    this.#calls.abandonAll();
  }

  /** For the real server: an error of a body that is being streamed, or of a response that cannot be sent at all. */
  unsent = (error: unknown): Response => {
    this.#log("error", `response not sent whole: ${describe(error)}`, streams.requestOf(error));
    return failure(500, "Internal Server Error", "HANDLER_ERROR");
  };

  #answered(response: unknown, request: Request, id: string): Response {
    this.#calls.end(id);
    return this.#checked(response, request, id);
  }

  #checked(response: unknown, request: Request, id: string): Response {
    return this.#final(this.#valid(response, id), request, id);
  }

  #valid(response: unknown, id: string): Response {
    if (!(response instanceof NativeResponse)) {
      this.#log("error", `handler returned ${describe(response)}, not a Response`, id);
      return failure(502, "Bad Gateway", "BAD_RESPONSE");
    }
    if (!response.bodyUsed) return response;
    this.#log("error", "handler returned a Response whose body was already used", id);
    return failure(500, "Internal Server Error", "HANDLER_ERROR");
  }

  #failed(error: unknown, request: Request, id: string, onError: Options["onError"]): Answer {
    if (!onError) return this.#unanswered(error, request, id);
    const own = new Promise<Response>((resolve) => resolve(context.run(id, onError, error)));
    return own.then(
      (response) => this.#answered(response, request, id),
      (error) => this.#unanswered(error, request, id),
    );
  }

  #unanswered(error: unknown, request: Request, id: string): Response {
    if (!this.#calls.fail(id, error)) this.#log("error", describe(error), id);
    return this.#final(failure(500, "Internal Server Error", "HANDLER_ERROR"), request, id);
  }

  /** After a request was accepted as a WebSocket, Deno takes any other answer as a reason to close the one real server. */
  #final(response: Response, request: Request, id: string): Response {
    if (response.status === 101) return response;
    const instead = websockets.closed(request);
    if (!instead) return response;
    const { status } = response;
    this.#log(
      "error",
      `handler accepted a WebSocket, but answered ${status}: the WebSocket is closed instead`,
      id,
    );
    return instead;
  }

  #log(level: Level, text: string, request?: string): void {
    this.#send({ type: "log", level, text, request: request || context.requestId() });
  }
}

/** Web pages of other origins may read it, as they may the gateway's own answers. */
function failure(status: number, text: string, code: string): Response {
  const headers = {
    "sb-error-code": code,
    "access-control-allow-origin": "*",
    "access-control-expose-headers": "*",
  };
  return new NativeResponse(text, { status, headers });
}

function parse(first: Options | Handler, second?: Options | Handler): [Handler, Options] {
  const [given, options] = typeof first === "function"
    ? [first, typeof second === "object" ? second : {}]
    : [typeof second === "function" ? second : first?.handler ?? first?.fetch?.bind(first), first ?? {}];
  if (typeof given !== "function") {
    throw new TypeError("Deno.serve needs a handler: Deno.serve((request) => new Response())");
  }
  return [given, options];
}

/** What `Deno.serve` returns. It reports the address that was asked for, not the worker's socket. */
class Server implements Deno.HttpServer {
  readonly handler: Handler;
  readonly onError: Options["onError"];
  readonly addr: Deno.Addr;
  readonly finished: Promise<void>;
  stopped = false;
  #finish!: () => void;

  constructor(handler: Handler, options: Options) {
    this.handler = handler;
    this.onError = options.onError;
    this.addr = options.path === undefined
      ? { transport: "tcp", hostname: options.hostname ?? "0.0.0.0", port: options.port ?? 8000 }
      : { transport: "unix", path: options.path };
    this.finished = new Promise((resolve) => this.#finish = resolve);

    const { onListen, signal } = options;
    if (onListen) queueMicrotask(() => onListen(this.addr));
    if (signal?.aborted) this.shutdown();
    signal?.addEventListener("abort", () => this.shutdown(), { once: true });
  }

  shutdown(): Promise<void> {
    this.stopped = true;
    this.#finish();
    return this.finished;
  }

  ref(): void {}

  unref(): void {}

  [Symbol.asyncDispose](): Promise<void> {
    return this.shutdown();
  }
}

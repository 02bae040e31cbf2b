/**
 * `Deno.listen` and `Deno.serveHttp`, by which functions for Deno 1 serve, oak's up to version 12 among them. Each request
 * comes by a connection of its own.
 */

import * as context from "./context.ts";

type Answer = Response | Promise<Response>;

interface RequestEvent {
  readonly request: Request;
  readonly respondWith: (answer: Answer) => Promise<void>;
}

/** Both the connection that `accept` returns and what `serveHttp` makes of it. */
class Connection {
  readonly localAddr: Deno.Addr;
  readonly remoteAddr: Deno.NetAddr;
  readonly answer: Promise<Response>;
  #event: RequestEvent | undefined;
  #end: (error: Error) => void;

  constructor(request: Request, info: Deno.ServeHandlerInfo<Deno.NetAddr>, localAddr: Deno.Addr) {
    const { promise, resolve, reject } = Promise.withResolvers<Response>();
    const respondWith = (answer: Answer) => {
      resolve(answer);
      return info.completed.catch(() => {});
    };
    this.localAddr = localAddr;
    this.remoteAddr = info.remoteAddr;
    this.answer = promise;
    const id = context.requestId() ?? "";
    // Whoever takes the request goes on in the context of the loop that accepts connections.
    const take = () => (context.enter(id), request);
    this.#event = Object.defineProperty({ respondWith } as RequestEvent, "request", { get: take });
    this.#end = reject;
  }

  async nextRequest(): Promise<RequestEvent | null> {
    const event = this.#event;
    this.#event = undefined;
    if (event !== undefined) return event;
    await this.answer.catch(() => {});
    return null;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<RequestEvent> {
    for (let event; (event = await this.nextRequest()) !== null;) yield event;
  }

  close(): void {
    this.#end(new Error("the connection was closed before a response was given"));
  }
}

class Listener {
  readonly addr: Deno.NetAddr;
  #server: Deno.HttpServer | undefined;
  #connections: ReadableStreamDefaultReader<Connection>;
  #close!: () => void;

  constructor(options: Deno.TcpListenOptions) {
    const { hostname = "0.0.0.0", port = 8000 } = options;
    this.addr = { transport: "tcp", hostname, port };
    const arrivals = new ReadableStream<Connection>({
      start: (controller) => this.#close = () => controller.close(),
      // Not before the first is to be accepted: code may listen just to see whether a port is free.
      pull: (controller) => {
        this.#server ??= Deno.serve({ ...options, onListen() {} }, (request, info) => {
          const connection = new Connection(request, info, this.addr);
          controller.enqueue(connection);
          return connection.answer;
        });
      },
    }, { highWaterMark: 0 });
    this.#connections = arrivals.getReader();
  }

  async accept(): Promise<Connection> {
    const { value } = await this.#connections.read();
    if (value === undefined) throw new Deno.errors.BadResource("Listener has been closed");
    return value;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Connection> {
    for (let next; !(next = await this.#connections.read()).done;) yield next.value;
  }

  close(): void {
    this.#close();
    this.#server?.shutdown();
  }

  ref(): void {}

  unref(): void {}

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Call after `Deno.serve` has been replaced. `serves`: whether the function does so already, and in another way. */
export function install(serves: () => boolean): void {
  const deno = Deno as unknown as Record<string, (subject: unknown) => unknown>;
  const { listen, serveHttp } = deno;
  deno.listen = (options) => {
    const { transport = "tcp" } = options as { transport?: string };
    if (transport !== "tcp" || serves()) return listen(options);
    return new Listener(options as Deno.TcpListenOptions);
  };
  deno.serveHttp = (connection) => connection instanceof Connection ? connection : serveHttp(connection);
}

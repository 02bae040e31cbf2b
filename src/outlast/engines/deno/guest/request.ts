/** Makes a request from the worker's Unix socket look as if the client had sent it to the function directly. */

/** Headers that the gateway sets, and the only ones that this worker relies on. */
const ID = "sb-request-id";
const PEER = "x-outlast-peer";
const PROTOCOL = "x-forwarded-proto";

/** Deno's own object behind a `Request` that it serves. */
interface Inner {
  header?(name: string): string | null;
}

let innerKey: symbol | undefined;

/**
 * Read at the start of each request, because Deno forgets the headers when the response is sent. `request.headers` would
 * copy them all, which is a third of the time that a small request takes. So this reads the one header as Deno itself
 * does, and uses `request.headers` only in a release without that way.
 */
export function idOf(request: Request): string {
  innerKey ??= Object.getOwnPropertySymbols(request).find((symbol) => symbol.description === "request");
  const inner = innerKey && (request as unknown as Record<symbol, Inner | undefined>)[innerKey];
  const id = typeof inner?.header === "function" ? inner.header(ID) : request.headers.get(ID);
  return id ?? "";
}

/** Corrects `url`, which Deno begins with `http+unix:`. */
export function install(): void {
  const property = Object.getOwnPropertyDescriptor(Request.prototype, "url")!;
  const native = property.get!;
  const mended = new WeakMap<Request, string>();
  Object.defineProperty(Request.prototype, "url", {
    ...property,
    get(this: Request): string {
      const url: string = native.call(this);
      if (!url.startsWith("http+unix:")) return url;
      let own = mended.get(this);
      if (own === undefined) {
        own = schemeOf(this) + url.slice("http+unix:".length);
        mended.set(this, own);
      }
      return own;
    },
  });
}

function schemeOf(request: Request): string {
  try {
    return request.headers.get(PROTOCOL) === "https" ? "https:" : "http:";
  } catch {
    // Deno itself reads the URL of a WebSocket's request after its headers are gone.
    return "http:";
  }
}

/** The second argument of a handler. */
export class ServeInfo implements Deno.ServeHandlerInfo<Deno.NetAddr> {
  #request: Request;
  #native: Deno.ServeHandlerInfo;

  constructor(request: Request, native: Deno.ServeHandlerInfo) {
    this.#request = request;
    this.#native = native;
  }

  get remoteAddr(): Deno.NetAddr {
    return parsePeer(this.#request.headers.get(PEER) ?? "");
  }

  get completed(): Promise<void> {
    return this.#native.completed;
  }
}

/** `203.0.113.9:4711` or `[::1]:80`. */
export function parsePeer(peer: string): Deno.NetAddr {
  const colon = peer.lastIndexOf(":");
  const hostname = peer.slice(0, Math.max(colon, 0)).replace(/^\[|\]$/g, "");
  return { transport: "tcp", hostname, port: Number(peer.slice(colon + 1)) || 0 };
}

/** The same two headers, of a request to a node:http server. */
export function ofNodeHeaders(headers: Record<string, unknown>): { id: string; peer: Deno.NetAddr } {
  return { id: String(headers[ID] ?? ""), peer: parsePeer(String(headers[PEER] ?? "")) };
}

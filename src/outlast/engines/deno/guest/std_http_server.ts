/** Replaces `https://deno.land/std/http/server.ts`, in any version: its `serve`, by means of `Deno.serve`. */

export interface ConnInfo {
  readonly localAddr: Deno.Addr;
  readonly remoteAddr: Deno.Addr;
}

export type Handler = (request: Request, connInfo: ConnInfo) => Response | Promise<Response>;

export interface ServeInit {
  /** @default {8000} */
  port?: number;
  /** @default {"0.0.0.0"} */
  hostname?: string;
  signal?: AbortSignal;
  onError?: (error: unknown) => Response | Promise<Response>;
  onListen?: (params: { hostname: string; port: number }) => void;
}

/** Settles when the server has been shut down. */
export function serve(handler: Handler, init: ServeInit = {}): Promise<void> {
  const localAddr: Deno.NetAddr = {
    transport: "tcp",
    hostname: init.hostname ?? "0.0.0.0",
    port: init.port ?? 8000,
  };
  return Deno.serve(init, (request, { remoteAddr }) => handler(request, { localAddr, remoteAddr })).finished;
}

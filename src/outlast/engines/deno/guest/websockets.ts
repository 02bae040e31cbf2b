/** Remembers the requests that a handler has accepted as WebSockets: Deno allows no other answer to them any more. */

/** Made for the first one: to look for a request costs each of them. */
let accepted: WeakMap<Request, Deno.WebSocketUpgrade> | undefined;

/** Call before the user's code can accept any. */
export function install(): void {
  const native = Deno.upgradeWebSocket;
  Deno.upgradeWebSocket = (request, options) => {
    const upgrade = native(request, options);
    (accepted ??= new WeakMap()).set(request, upgrade);
    return upgrade;
  };
}

/** The answer that Deno waits for, if the request was accepted. Its WebSocket is closed once it is open. */
export function closed(request: Request): Response | undefined {
  const upgrade = accepted?.get(request);
  upgrade?.socket.addEventListener("open", () => upgrade.socket.close(1011), { once: true });
  return upgrade?.response;
}

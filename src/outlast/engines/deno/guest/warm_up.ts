/**
 * Has a worker on standby answer a request of its own. What Deno and V8 load and compile for the first request, message
 * and timer takes 4 ms of CPU time: now nobody waits for it.
 */

const { connect } = Deno;
const { setTimeout } = globalThis;

const REQUEST =
  "GET / HTTP/1.1\r\nhost: localhost\r\nx-forwarded-proto: http\r\nsb-request-id: warm-up\r\n\r\n";

/** Settles when the server on this socket has answered; never throws. */
export async function warmUp(socket: string): Promise<void> {
  try {
    await new Promise<void>((resolve) => setTimeout(resolve));
    using connection = await connect({ transport: "unix", path: socket });
    await connection.write(new TextEncoder().encode(REQUEST));
    await connection.read(new Uint8Array(1024));
  } catch {
    // Then the function's first request just takes longer.
  }
}

/** Answers that request. Until the function has called `Deno.serve`, no other one can come. */
export function answer(request: Request): Response {
  return new Response(request.url);
}

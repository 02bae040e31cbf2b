import { gate, workOf } from "../_shared/gate.ts";

/** Stops when its client leaves. */
Deno.serve(async (req) => {
  await gate(workOf(req), req.signal).catch(() => console.log("stopped"));
  return new Response();
});

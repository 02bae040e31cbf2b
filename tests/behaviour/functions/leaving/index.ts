import { gate, workOf } from "../_shared/gate.ts";

Deno.serve(async (req) => {
  const work = workOf(req);
  req.signal.addEventListener("abort", () => console.log(`${work} aborted`));
  EdgeRuntime.waitUntil(gate(work), { name: work });
  return new Response(await gate(`${work}-response`));
});

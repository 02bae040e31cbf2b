import { gate, workOf } from "../_shared/gate.ts";

/** Does not care whether its client is there. */
Deno.serve(async (req) => {
  const work = workOf(req);
  const told = await gate(work);
  if (told === "fail") throw new Error(`${work} failed`);
  console.log(`${work} saved`);
  return new Response(work);
});

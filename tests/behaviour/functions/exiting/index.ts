import { caseOf, gate, workOf } from "../_shared/gate.ts";

addEventListener("unload", () => {
  throw new Error("the listener of unload threw");
});

Deno.serve(async (req) => {
  const work = workOf(req);
  switch (caseOf(req)) {
    case "exit":
      return Deno.exit(3);
    case "waits":
      return new Response(await gate(work));
    case "exit-in-task":
      EdgeRuntime.waitUntil(gate(work).then(() => Deno.exit(0)), { name: work });
      break;
    case "task":
      EdgeRuntime.waitUntil(gate(work), { name: work });
  }
  return new Response(String(Deno.pid));
});

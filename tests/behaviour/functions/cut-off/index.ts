import { gate, workOf } from "../_shared/gate.ts";

addEventListener("beforeunload", (event) => console.log("beforeunload", event.detail.reason));

Deno.serve((req) => {
  const work = workOf(req);
  EdgeRuntime.waitUntil(gate(work), { name: work });
  EdgeRuntime.waitUntil(Promise.resolve(), { name: `${work}-quick` });
  return new Response("ok");
});

import { caseOf, gate, workOf } from "../_shared/gate.ts";

addEventListener("unhandledrejection", (event) => {
  console.log("heard", (event.reason as Error).message, event.promise instanceof Promise);
  if (!(event.reason as Error).message.includes("serious")) event.preventDefault();
});

async function lost(work: string, text: string): Promise<void> {
  await gate(work);
  throw new Error(`${work} ${text}`);
}

Deno.serve((req) => {
  lost(workOf(req), caseOf(req));
  return new Response("ok");
});

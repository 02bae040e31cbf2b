import { caseOf, gate, workOf } from "../_shared/gate.ts";

addEventListener("unhandledrejection", (event) => {
  const promise = event.promise instanceof Promise ? "with its promise" : "alone";
  console.log("heard", (event.reason as Error).message, promise);
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

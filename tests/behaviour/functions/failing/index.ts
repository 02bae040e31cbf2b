import { caseOf, gate, workOf } from "../_shared/gate.ts";

async function lost(work: string): Promise<void> {
  await gate(work);
  throw new Error(`${work} was lost`);
}

addEventListener("beforeunload", (event) => console.log("beforeunload", event.detail.reason));

Deno.serve(async (req) => {
  const work = workOf(req);
  switch (caseOf(req)) {
    case "lost":
      // Nobody awaits it, and it is no background task.
      lost(work);
      break;
    case "in-timer":
      gate(work).then(() =>
        setTimeout(() => {
          throw new Error(`${work} was thrown`);
        })
      );
      break;
    case "waits":
      return new Response(await gate(work));
    case "task":
      EdgeRuntime.waitUntil(gate(work), { name: work });
      break;
  }
  return new Response("ok");
});

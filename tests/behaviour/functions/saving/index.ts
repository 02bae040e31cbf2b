import { gate } from "../_shared/gate.ts";

async function save(): Promise<void> {
  console.log("saved", await gate("save"));
}

addEventListener("beforeunload", (event) => {
  console.log("asked to save", event.detail.reason);
  EdgeRuntime.waitUntil(save(), { name: "save" });
  event.preventDefault();
});

Deno.serve(() => new Response("ok"));

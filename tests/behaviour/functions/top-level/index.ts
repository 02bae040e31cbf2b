import { gate } from "../_shared/gate.ts";

EdgeRuntime.waitUntil(gate("warm-up"), { name: "warm-up" });

Deno.serve(() => new Response("ok"));

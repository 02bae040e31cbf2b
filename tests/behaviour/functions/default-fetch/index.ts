import { gate, workOf } from "../_shared/gate.ts";

export default {
  greeting: "from default fetch",
  fetch(req: Request): Response {
    EdgeRuntime.waitUntil(gate(workOf(req)), { name: workOf(req) });
    return new Response(this.greeting);
  },
};

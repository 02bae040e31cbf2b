import { gate, workOf } from "../_shared/gate.ts";

const encoder = new TextEncoder();

Deno.serve((req) => {
  const work = workOf(req);
  const events = async function* () {
    for (let n = 1; n <= 3; n++) yield encoder.encode(`data: ${await gate(`${work}-${n}`)}\n\n`);
  };
  return new Response(ReadableStream.from(events()), { headers: { "content-type": "text/event-stream" } });
});

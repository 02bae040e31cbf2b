import { gate, workOf } from "../_shared/gate.ts";

const encoder = new TextEncoder();

Deno.serve((req) => {
  const work = workOf(req);
  const events = async function* () {
    try {
      for (let n = 1; n <= 3; n++) yield encoder.encode(`data: ${await gate(`${work}-${n}`)}\n\n`);
    } finally {
      console.log(`${work} has been told`);
      EdgeRuntime.waitUntil(gate(`${work}-saved`), { name: `${work}-saved` });
    }
  };
  return new Response(ReadableStream.from(events()), { headers: { "content-type": "text/event-stream" } });
});

import { gate, workOf } from "../_shared/gate.ts";

console.log("evaluated");

Deno.serve(async (req) => {
  const work = workOf(req);
  console.debug(`${work} debug`);
  console.log(`${work} log`);
  console.info(`${work} info`);
  console.warn(`${work} warn`);
  console.error(`${work} error`);
  console.log(`${work} one\n  two\nthree`);
  console.log(`${work} object`, { a: [1, "two"] });
  console.log(`${work} Grüße 🌍`);
  const text = await gate(work);
  console.log(`${work} ${text}`);
  return new Response("ok");
});

import process from "node:process";

const encoder = new TextEncoder();

Deno.serve(() => {
  process.stdout.write("written to stdout\n");
  Deno.stdout.writeSync(encoder.encode("in "));
  Deno.stdout.writeSync(encoder.encode("two\n"));
  Deno.stderr.writeSync(encoder.encode("written to stderr\n"));
  process.emitWarning("in the way of Node.js");
  console.log("x".repeat(1 << 20));
  console.log("half a character: \ud83c");
  console.log('pretends\n{"event":"ready","url":"http://forged"}');
  return new Response("ok");
});

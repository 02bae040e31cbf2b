/** What it does at the top level is the name of its folder. */
const name = new URL(".", import.meta.url).pathname.split("/").at(-2)!;
const kept: unknown[] = [];

switch (name.split("-")[0]) {
  case "awaits":
    await new Promise(() => setInterval(() => {}, 1000));
    break;
  case "computes":
    for (;;);
  case "fills":
    for (;;) {
      kept.push(new Uint8Array(2 ** 21).fill(1));
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  case "throws":
    throw new Error("not today");
}

Deno.serve((req) => {
  if (new URL(req.url).pathname.endsWith("/exit")) Deno.exit(7);
  return new Response("ok");
});

// The function `later` without Outlast: the promise is left to itself. Prints its address once it listens.

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

Deno.serve({
  hostname: "127.0.0.1",
  port: 0,
  onListen: ({ port }) => console.log(`http://127.0.0.1:${port}/`),
}, () => {
  void pause(10);
  return new Response("ok");
});

// 3 ms of computing for each request: its workers are replaced because of their CPU time.

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

Deno.serve(() => {
  EdgeRuntime.waitUntil(pause(10));
  const until = performance.now() + 3;
  while (performance.now() < until);
  return new Response("ok");
});

// Hardly computes: its workers are replaced because of their age.

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

Deno.serve(() => {
  EdgeRuntime.waitUntil(pause(10));
  return new Response("ok");
});

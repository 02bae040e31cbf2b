// One background task of 10 ms for each request.

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

Deno.serve(() => {
  EdgeRuntime.waitUntil(pause(10));
  return new Response("ok");
});

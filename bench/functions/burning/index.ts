// Computes in the background for each request: so many steps, which are the same work in any V8.

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

async function burn(steps: number): Promise<void> {
  await pause(5);
  for (let step = 0; step < steps; step++);
}

Deno.serve((request) => {
  EdgeRuntime.waitUntil(burn(Number(new URL(request.url).searchParams.get("steps"))));
  return new Response("ok");
});

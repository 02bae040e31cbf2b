// The functions of the same names without Outlast: `deno run deno.ts WORK PORT`. A task's promise is left to itself.

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

async function burn(steps: number): Promise<void> {
  await pause(5);
  for (let step = 0; step < steps; step++);
}

function chunks(mib: number): ReadableStream<Uint8Array> {
  const chunk = new Uint8Array(65_536);
  let left = mib * 16;
  return new ReadableStream({
    pull(controller) {
      if (left-- > 0) controller.enqueue(chunk);
      else controller.close();
    },
  });
}

const asked = (request: Request, name: string) => Number(new URL(request.url).searchParams.get(name));

const works: Record<string, (request: Request) => Response> = {
  later: () => {
    void pause(10);
    return new Response("ok");
  },
  burning: (request) => {
    void burn(asked(request, "steps"));
    return new Response("ok");
  },
  streaming: (request) => new Response(chunks(asked(request, "mib"))),
  plain: () => new Response("ok"),
};

const [work, port] = Deno.args;
Deno.serve({
  hostname: "127.0.0.1",
  port: Number(port),
  onListen: (address) => console.log(`http://127.0.0.1:${address.port}/`),
}, works[work]);

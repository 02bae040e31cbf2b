// The functions of the same names without Outlast: `deno run deno.ts NAME PORT`. A task's promise is left to itself.
import { cpuUsage } from "node:process";

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

function burn(ms: number): void {
  const { user, system } = cpuUsage();
  const until = user + system + ms * 1000;
  for (let now = 0; now < until;) {
    for (let i = 0; i < 20_000; i++);
    const used = cpuUsage();
    now = used.user + used.system;
  }
}

async function work(): Promise<void> {
  await pause(15);
  burn(20);
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

const functions: Record<string, (request: Request) => Response> = {
  later: () => {
    void pause(10);
    return new Response("ok");
  },
  burning: () => {
    void work();
    return new Response("ok");
  },
  streaming: (request) => new Response(chunks(Number(new URL(request.url).searchParams.get("mib")))),
  plain: () => new Response("ok"),
};

const [name, port] = Deno.args;
Deno.serve({
  hostname: "127.0.0.1",
  port: Number(port),
  onListen: (address) => console.log(`http://127.0.0.1:${address.port}/`),
}, functions[name]);

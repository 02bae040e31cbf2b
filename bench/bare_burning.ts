// The function `burning` without Outlast: the promise is left to itself. Prints its address once it listens.
import { cpuUsage } from "node:process";

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
  await new Promise((resolve) => setTimeout(resolve, 5));
  burn(20);
}

Deno.serve({
  hostname: "127.0.0.1",
  port: 0,
  onListen: ({ port }) => console.log(`http://127.0.0.1:${port}/`),
}, () => {
  void work();
  return new Response("ok");
});

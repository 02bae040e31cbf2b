// 20 ms of CPU time in the background for each request.
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

Deno.serve(() => {
  EdgeRuntime.waitUntil(work());
  return new Response("ok");
});

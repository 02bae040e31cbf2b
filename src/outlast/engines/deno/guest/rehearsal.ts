/**
 * What the node runs before any worker: the start of one, with this program at both ends of the control channel. V8's code
 * of all that every worker loads is in Deno's cache then, which workers may read, but not write. Before that it tells how
 * much memory a Deno has that has done nothing yet.
 */

import type { ToWorker } from "./messages.ts";

if (Deno.build.os === "linux") console.log(Deno.readTextFileSync("/proc/self/status"));

const cache = Deno.env.get("DENO_DIR")!;
const folder = Deno.env.get("OUTLAST_WORKER_DIR")!;
const listener = Deno.listen({ transport: "unix", path: `${folder}/control.sock` });
// Without end: it waits to be told to go on.
import("./bootstrap.ts");
const worker = await listener.accept();

await tell({ type: "ping", number: 0 });
await worker.read(new Uint8Array(1024));
// Not of every worker, but of those whose functions have packages of npm, and most of what node:http is made of.
await import("node:process");
await analyze();
await tell({ type: "exit" });

/**
 * Deno has SQLite look at its tables when it opens them. Where that has something to write, whoever may not write cannot
 * open them at all. The log, which every one of them would have to read from its beginning, is short afterwards.
 */
async function analyze(): Promise<void> {
  const { DatabaseSync } = await import("node:sqlite");
  const [{ name }] = [...Deno.readDirSync(cache)].filter(({ name }) => /^v8_code_cache_v\d+$/.test(name));
  // Left open: the last one to close it would remove what can only be made by those who may write. Then it is the node
  // that keeps it open.
  const database = new DatabaseSync(`${cache}/${name}`);
  // Functions are being prepared meanwhile.
  database.exec("PRAGMA busy_timeout = 5000; PRAGMA wal_checkpoint(TRUNCATE); ANALYZE");
}

async function tell(message: ToWorker): Promise<void> {
  await worker.write(new TextEncoder().encode(`${JSON.stringify(message)}\n`));
}

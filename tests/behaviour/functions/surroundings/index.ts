import fs, { createWriteStream, exists, existsSync, readdirSync } from "node:fs";
import { mkdir, rename } from "node:fs/promises";
import os from "node:os";
import { pipeline } from "node:stream/promises";
import { promisify } from "node:util";
import { caseOf } from "../_shared/gate.ts";

const here = (path: string) => new URL(path, import.meta.url);

/** What a request to `/surroundings/CASE?at=PATH` tries to do; it answers with the result, or with 403 and the error. */
const attempts: Record<string, (at: string) => unknown> = {
  "environment": () => Deno.env.toObject(),
  "environment-of-libraries": async () => ({ ...(await import("node:process")).env }),
  "environment-of-process": () => Deno.readTextFile("/proc/self/environ"),
  "read": (at) => Deno.readTextFile(at),
  "read-own": () => Deno.readTextFile(here("./data.txt")),
  "read-shared": () => Deno.readTextFile(here("../_shared/data.txt")),
  "read-neighbour": () => Deno.readTextFile(here("../mirror/data.txt")),
  "write": (at) => Deno.writeTextFile(at, "written"),
  "write-own": () => Deno.writeTextFile(here("./data.txt"), "written"),
  "write-shared": () => Deno.writeTextFile(here("../_shared/data.txt"), "written"),
  "write-temporary": async () => {
    const file = await Deno.makeTempFile();
    await Deno.writeTextFile(file, "written");
    return [file.startsWith(Deno.env.get("TMPDIR")!), await Deno.readTextFile(file)];
  },
  "slash-tmp": async (at) => {
    await Deno.mkdir(`${at}/folder`, { recursive: true });
    await Deno.writeFile(new URL(`file://${at}/folder/a`), new Response("written").body!);
    await Deno.rename(`${at}/folder/a`, `${at}/folder/b`);
    const inTemporary = `${Deno.env.get("TMPDIR")}/${at.slice("/tmp/".length)}/folder/b`;
    const names = [...Deno.readDirSync("/tmp")].map(({ name }) => name).filter((name) => at.endsWith(name));
    return [await Deno.readTextFile(`${at}/folder/b`), await Deno.readTextFile(inTemporary), names];
  },
  "slash-tmp-of-node": async (at) => {
    await mkdir(at);
    await pipeline(["writ", "ten"], createWriteStream(`${at}/a`));
    await rename(`${at}/a`, `${at}/b`);
    const names = readdirSync("/tmp").filter((name) => at.endsWith(name));
    return [await fs.promises.readFile(`${at}/b`, "utf8"), await Deno.readTextFile(`${at}/b`), names];
  },
  "run": async (at) => (await new Deno.Command("/bin/sh", { args: ["-c", `echo > '${at}'`] }).output()).code,
  "run-by-node": async (at) => {
    const { execFileSync } = await import("node:child_process");
    return execFileSync("/bin/sh", ["-c", `echo > '${at}'`]).length;
  },
  "ffi": () => void Deno.dlopen("libc.so.6", { getpid: { parameters: [], result: "i32" } }),
  "kill": (at) => Deno.kill(Number(at), "SIGTERM"),
  "look-by-node": async (at) => [
    existsSync(at),
    existsSync(here("./data.txt")),
    await promisify(exists)(at),
    await new Promise((resolve) => exists(at, resolve)),
    await promisify(exists)(here("./data.txt")),
  ],
  "networks-by-node": () => os.networkInterfaces(),
  "caches": () => caches.open("x"),
  "kv": () => Deno.openKv(),
  "kv-in-memory": async () => {
    const kv = await Deno.openKv(":memory:");
    await kv.set(["a"], "kept");
    return (await kv.get(["a"])).value;
  },
  "harmless": () => typeof process.umask() + typeof Deno.hostname() + typeof Deno.osRelease() + navigator.hardwareConcurrency,
};

Deno.serve(async (req) => {
  try {
    const result = await attempts[caseOf(req)](new URL(req.url).searchParams.get("at") ?? "");
    return Response.json(result ?? null);
  } catch (error) {
    return Response.json(String(error), { status: 403 });
  }
});

/** Code and data that come by an import, a loader or a program, and not by a call to read a file. */

import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { Worker as Thread } from "node:worker_threads";
import process from "node:process";
import { Foiled, holds, type Probes } from "./attempt.ts";

export const probes: Probes = {
  "fetch-file": async ({ secret }) => holds(await (await fetch(`file://${secret}`)).text(), "the secret"),
  "import-module-of-neighbour": async (land) =>
    (await import(`file://${land.functions}/victim/private.ts`)).SECRET,
  "import-data": async (land) =>
    JSON.stringify((await import(`file://${land.secret_json}`, { with: { type: "json" } })).default),
  "import-text": async ({ secret }) => (await import(`file://${secret}`, { with: { type: "text" } })).default,
  "import-module-of-neighbour-by-data-url": async (land) => {
    const source = `export { SECRET } from "file://${land.functions}/victim/private.ts";`;
    return (await import(`data:text/typescript,${encodeURIComponent(source)}`)).SECRET;
  },
  "require-data": (land) => JSON.stringify(createRequire(import.meta.url)(land.secret_json)),
  "require-module-of-neighbour": (land) =>
    createRequire(import.meta.url)(`${land.functions}/victim/private.ts`).SECRET,
  "resolve-module-outside": (land) => createRequire(import.meta.url).resolve(land.secret_json),
  "load-library": () => {
    Deno.dlopen("libc.so.6", { getpid: { parameters: [], result: "i32" } }).close();
    return "loaded";
  },
  "load-addon": () => {
    const module = { exports: {} };
    try {
      process.dlopen(module, "/lib/x86_64-linux-gnu/libc.so.6");
    } catch (error) {
      // That it is no addon is found out after it has been loaded.
      if (!/register|napi|symbol/i.test((error as Error).message)) throw error;
    }
    return "loaded";
  },
  "run-program": () => {
    const { code, stdout } = new Deno.Command("/usr/bin/id").outputSync();
    return `${code} ${new TextDecoder().decode(stdout)}`;
  },
  "run-program-by-node": () =>
    new Promise((resolve, reject) => {
      const child = spawn("/usr/bin/id");
      child.on("error", reject);
      child.stdout.on("data", resolve);
    }),
  "run-deno-with-all-permissions": () => {
    const { code, stdout } = new Deno.Command(process.execPath, { args: ["eval", "console.log(1)"] })
      .outputSync();
    return `${code} ${new TextDecoder().decode(stdout)}`;
  },
  "read-in-a-worker": (land) => inWorker(new Worker(url(land.secret), { type: "module" })),
  "read-in-a-worker-that-asks-for-more": (land) =>
    inWorker(
      new Worker(
        url(land.secret),
        { type: "module", deno: { permissions: { read: true } } } as WorkerOptions,
      ),
    ),
  "read-in-a-thread": (land) =>
    new Promise((resolve, reject) => {
      const source = `
        const { parentPort } = require("node:worker_threads");
        try { parentPort.postMessage([true, require("node:fs").readFileSync(${
        JSON.stringify(land.secret)
      }, "utf8")]); }
        catch (error) { parentPort.postMessage([false, error.name + ": " + error.message]); }`;
      const thread = new Thread(source, { eval: true });
      thread.on("error", reject);
      thread.on("message", ([read, text]: [boolean, string]) => {
        thread.terminate();
        if (read) resolve(text);
        else reject(new Foiled(text));
      });
    }),
  "read-by-permission-of-own-settings": async (land) => {
    const { state } = await Deno.permissions.query({ name: "read", path: land.secret });
    if (state !== "granted") throw new Foiled(`NotCapable: ${state}`);
    return state;
  },
  "start-worker-of-neighbours-code": (land) => {
    const source = `file://${land.functions}/victim/worker.ts`;
    return inWorker(new Worker(source, { type: "module" }));
  },
  "grant-oneself-reading": async () => {
    const status = await Deno.permissions.request({ name: "read", path: "/etc/passwd" });
    if (status.state !== "granted") throw new Foiled(`NotCapable: ${status.state}`);
    return "granted";
  },
};

function url(secret: string): string {
  const source = `
    try { postMessage([true, Deno.readTextFileSync(${JSON.stringify(secret)})]); }
    catch (error) { postMessage([false, error.name + ": " + error.message]); }`;
  return `data:text/javascript,${encodeURIComponent(source)}`;
}

function inWorker(worker: Worker): Promise<string> {
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data: [read, text] }) => {
      worker.terminate();
      if (read) resolve(text);
      else reject(new Foiled(text));
    };
    worker.onerror = (event) => {
      event.preventDefault();
      reject(new Foiled(event.message));
    };
  });
}

/**
 * The file functions of Deno and of Node.js, as functions of Supabase expect them. There, `/tmp` is a folder of the
 * worker's own. Here that is `TMPDIR`, so paths are changed accordingly.
 */

import type { PathLike } from "node:fs";
import type { NetworkInterfaceInfo } from "node:os";

type Call = (...args: unknown[]) => unknown;
type Calls = Record<string, Call>;

/** Those of Deno whose arguments begin with a path. Each has a namesake that ends with `Sync`. */
const BY_PATH = [
  "chmod",
  "chown",
  "create",
  "lstat",
  "mkdir",
  "open",
  "readDir",
  "readFile",
  "readLink",
  "readTextFile",
  "realPath",
  "remove",
  "stat",
  "truncate",
  "utime",
  "writeFile",
  "writeTextFile",
];
/** Those that take two paths, in Deno and in Node.js. */
const BY_TWO_PATHS = ["copyFile", "cp", "link", "rename", "symlink"];

/** What a function may know of its machine's network. */
const LOOPBACK: NetworkInterfaceInfo = {
  address: "127.0.0.1",
  netmask: "255.0.0.0",
  family: "IPv4",
  mac: "00:00:00:00:00:00",
  internal: true,
  cidr: "127.0.0.1/8",
};

const { permissions } = Deno;
const own = Deno.env.get("TMPDIR") ?? "/tmp";
/** What can be in `/tmp`, too: the function's project, and the workers' own folders. */
const known = [Deno.cwd(), own].map((path) => path.split("/", 3).join("/") + "/");

function inOwn(path: unknown): unknown {
  if (path instanceof URL) {
    return path.protocol === "file:" ? new URL(inOwn(path.pathname) as string, path) : path;
  }
  if (typeof path !== "string" || !/^\/tmp(\/|$)/.test(path)) return path;
  if (known.some((folder) => `${path}/`.startsWith(folder))) return path;
  // What the function may read is where it says: packages of npm, for one.
  const isReadable = permissions.querySync({ name: "read", path }).state === "granted";
  return isReadable ? path : own + path.slice("/tmp".length);
}

function redirect(calls: Calls, names: string[], paths: number): void {
  for (const name of names.flatMap((name) => [name, `${name}Sync`])) {
    const native = calls[name];
    if (typeof native !== "function") continue;
    const call: Call = (...args) => native(...args.slice(0, paths).map(inOwn), ...args.slice(paths));
    calls[name] = Object.defineProperties(call, Object.getOwnPropertyDescriptors(native));
  }
}

export function install(): void {
  const deno = Deno as unknown as Calls;
  redirect(deno, BY_PATH, 1);
  redirect(deno, BY_TWO_PATHS, 2);
  for (const name of ["makeTempDir", "makeTempDirSync", "makeTempFile", "makeTempFileSync"]) {
    const native = deno[name];
    deno[name] = (options) =>
      native(options && { ...options, dir: inOwn((options as { dir?: string }).dir) });
  }
}

/** To load all of this takes some milliseconds, so it is only for a function that will do so itself. */
export function installForNode(): void {
  const fs = process.getBuiltinModule("node:fs");
  const { existsSync } = fs;
  // Packages look for settings in all kinds of places, and of this no error is to be expected.
  fs.existsSync = (path) => {
    try {
      return existsSync(path);
    } catch {
      return false;
    }
  };
  for (const calls of [fs, fs.promises] as unknown as Calls[]) {
    const names = Object.keys(calls).filter((name) => /^[a-z].*(?<!Sync)$/.test(name));
    redirect(calls, names.filter((name) => !BY_TWO_PATHS.includes(name)), 1);
    redirect(calls, BY_TWO_PATHS, 2);
  }
  // That of Node.js never calls back, here, about what is closed to the function.
  const exists = (path: PathLike, callback: (exists: boolean) => void) => {
    queueMicrotask(() => callback(fs.existsSync(path)));
  };
  const { custom } = process.getBuiltinModule("node:util").promisify;
  fs.exists = Object.assign(exists, {
    [custom]: (path: PathLike) => Promise.resolve(fs.existsSync(path)),
  }) as unknown as typeof fs.exists;
  if (permissions.querySync({ name: "sys", kind: "networkInterfaces" }).state !== "granted") {
    // Fastify looks for them where it is to listen at 0.0.0.0.
    process.getBuiltinModule("node:os").networkInterfaces = () => ({ lo: [{ ...LOOPBACK }] });
  }
  process.getBuiltinModule("node:module").syncBuiltinESMExports();
}

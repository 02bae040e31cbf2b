/** Files that are somebody else's, by every road that leads to them. */

import { readFileSync, statSync } from "node:fs";
import { append, own, type Probes, read, write } from "./attempt.ts";

export const probes: Probes = {
  // Reading.
  "read-secret-file": ({ secret }) => read(secret, "the secret"),
  "read-secret-file-by-node": ({ secret }) => readFileSync(secret, "utf8"),
  "read-etc-shadow": () => read("/etc/shadow", "root:"),
  "read-environment-of-node": (land) => read(`/proc/${land.node_pid}/environ`, "SECRET_OF_THE_NODE"),
  "read-environment-of-neighbour": (land) => read(`/proc/${land.victim.pid}/environ`, "SB_EXECUTION_ID"),
  "read-own-environment-as-it-was": () => read("/proc/self/environ", "DENO_DIR"),
  "read-own-memory-map": () => read("/proc/self/maps", "r-xp"),
  "read-command-line-of-node": (land) => read(`/proc/${land.node_pid}/cmdline`, "outlast"),
  "read-memory-map-of-neighbour": (land) => read(`/proc/${land.victim.pid}/maps`, "r-xp"),
  "list-open-files-of-node": (land) => list(`/proc/${land.node_pid}/fd`),
  "read-through-root-of-node": (land) => read(`/proc/${land.node_pid}/root${land.secret}`, "the secret"),
  "read-through-own-root": ({ secret }) => read(`/proc/self/root${secret}`, "the secret"),
  "read-through-working-folder": () => read("/proc/self/cwd/../victim/index.ts", "what the prober is after"),
  "read-through-folders-up": ({ secret }) => read(`.${"/..".repeat(40)}${secret}`, "the secret"),
  "read-source-of-neighbour": (land) => read(`${land.functions}/victim/index.ts`, "what the prober is after"),
  "read-source-of-neighbour-by-url": () =>
    read(new URL("../victim/index.ts", import.meta.url), "what the prober is after"),
  "read-source-of-neighbour-by-escaped-url": () =>
    read(new URL("./%2e%2e/victim/index.ts", import.meta.url), "what the prober is after"),
  "read-env-file": (land) => read(`${land.functions}/.env`, "GIVEN_TO_ALL"),
  "read-config-of-project": (land) => read(`${land.project}/supabase/config.toml`, "[functions.victim.env]"),
  "read-state-of-project": (land) => read(land.state_file, "state"),
  "read-temporary-file-of-neighbour": (land) => read(land.victim.file, "kept in a file"),
  "list-run-folder": (land) => list(`${land.victim.folder}/..`),
  "list-folder-of-neighbour": (land) => list(land.victim.folder),
  "list-functions": (land) => list(land.functions),
  "list-home": (land) => list(land.home),
  "list-processes": () => list("/proc"),
  "list-deno-dir": (land) => list(land.deno_dir),
  "read-table-of-unix-sockets": (land) => read("/proc/net/unix", land.victim.folder),
  "stat-secret-file": ({ secret }) => Deno.statSync(secret).size,
  "stat-secret-file-by-node": ({ secret }) => statSync(secret).size,
  "lstat-secret-file": ({ secret }) => Deno.lstatSync(secret).size,
  "resolve-link-outside": (land) => Deno.readLinkSync(`/proc/${land.node_pid}/exe`),
  "resolve-path-outside": ({ secret }) => Deno.realPathSync(secret),
  "change-to-folder-outside": ({ hideout }) => {
    const before = Deno.cwd();
    Deno.chdir(hideout);
    Deno.chdir(before);
    return "was there";
  },
  "watch-folder-of-neighbour": (land) => {
    Deno.watchFs(land.victim.folder).close();
    return "would be told of every new file";
  },
  "read-through-symbolic-link": ({ secret }) => {
    const link = own("symbolic");
    Deno.symlinkSync(secret, link);
    return read(link, "the secret");
  },
  "read-through-hard-link": ({ secret }) => {
    const link = own("hard");
    Deno.linkSync(secret, link);
    return read(link, "the secret");
  },
  "read-through-link-in-own-folder": () => read(new URL("./link.txt", import.meta.url), "the secret"),
  "read-by-moving": ({ hideout }) => {
    const moved = own("moved");
    Deno.renameSync(`${hideout}/to-be-moved.txt`, moved);
    return read(moved, "movable");
  },
  "read-by-copying": ({ secret }) => {
    const copy = own("copy");
    Deno.copyFileSync(secret, copy);
    return read(copy, "the secret");
  },
  "read-disk": ({ disk }) => {
    Deno.openSync(disk).close();
    return "opened";
  },

  // Writing.
  "write-own-source": () => append(new URL(import.meta.url).pathname),
  "write-own-folder": (land) => write(`${land.functions}/prober`),
  "write-shared-source": (land) => append(`${land.functions}/_shared/data.txt`),
  "write-source-of-neighbour": (land) => append(`${land.functions}/victim/index.ts`),
  "write-env-file": (land) => append(`${land.functions}/.env`),
  "write-config-of-project": (land) => append(`${land.project}/supabase/config.toml`),
  "write-state-of-project": (land) => append(land.state_file),
  "write-deno-dir": (land) => write(land.deno_dir),
  // `/tmp` would mean its own.
  "write-system-temporary-folder": () => write("/./tmp"),
  "write-home": (land) => write(land.home),
  "write-shared-memory-folder": () => write("/dev/shm"),
  "write-run-folder": (land) => write(`${land.victim.folder}/..`),
  "write-temporary-folder-of-neighbour": (land) => write(`${land.victim.folder}/tmp`),
  "write-outside": ({ hideout }) => write(hideout),
  "write-through-symbolic-link": ({ hideout }) => {
    const link = own("symbolic-folder");
    Deno.symlinkSync(hideout, link);
    return write(link);
  },
  "truncate-outside": ({ hideout }) => Deno.truncateSync(`${hideout}/to-be-cut.txt`),
  "remove-outside": ({ hideout }) => Deno.removeSync(`${hideout}/to-be-removed.txt`),
  "make-folder-outside": ({ hideout }) => Deno.mkdirSync(`${hideout}/folder-${crypto.randomUUID()}`),
  "make-link-outside": ({ hideout }) =>
    Deno.symlinkSync("/etc/passwd", `${hideout}/link-${crypto.randomUUID()}`),
  "lead-node-astray": (land) => {
    const link = Deno.env.get("TMPDIR")!.replace(/tmp$/, "node.sock");
    Deno.symlinkSync(land.unix_socket, link);
    Deno.removeSync(link);
  },
  "make-temporary-file-outside": ({ hideout }) => Deno.makeTempFileSync({ dir: hideout }),
  "move-file-outside": ({ hideout }) => {
    const mine = own("mine");
    Deno.writeTextFileSync(mine, "mine");
    Deno.renameSync(mine, `${hideout}/mine-${crypto.randomUUID()}`);
  },
  "change-mode-outside": ({ hideout }) => Deno.chmodSync(`${hideout}/to-be-changed.txt`, 0o640),
  "change-owner-outside": ({ hideout }) =>
    Deno.chownSync(`${hideout}/to-be-changed.txt`, Deno.uid(), Deno.gid()),
  "change-times-outside": ({ hideout }) => Deno.utimeSync(`${hideout}/to-be-changed.txt`, 0, 0),
  "write-setting-of-kernel": () => append("/proc/sys/kernel/hostname"),
};

function list(folder: string): string {
  return [...Deno.readDirSync(folder)].map((entry) => entry.name).join(" ");
}

/** Sockets. Calls to others over the network are what functions are for, and not tried here. */

import { createSocket } from "node:dgram";
import * as inspector from "node:inspector";
import { connect } from "node:net";
import { type Probes } from "./attempt.ts";

export const probes: Probes = {
  "request-at-socket-of-neighbour": (land) => ask(`${land.victim.folder}/http.sock`),
  "connect-to-socket-of-neighbour-found": async () => {
    const own = Deno.env.get("TMPDIR")!.replace(/\/tmp$/, "");
    const workers = own.replace(/\/[^/]+$/, "");
    const others = [...Deno.readDirSync(workers)].map(({ name }) => `${workers}/${name}`).filter((path) =>
      path !== own
    );
    (await Deno.connect({ transport: "unix", path: `${others[0]}/http.sock` })).close();
    return `connected in ${others[0]}`;
  },
  "request-at-socket-of-neighbour-by-node": (land) => askByNode(`${land.victim.folder}/http.sock`),
  "request-at-socket-of-neighbour-by-fetch": async (land) => {
    const proxy = { transport: "unix", path: `${land.victim.folder}/http.sock` } as const;
    using client = Deno.createHttpClient({ proxy });
    return (await fetch("http://neighbour/", { client })).text();
  },
  "connect-to-control-socket-of-neighbour": async (land) => {
    (await Deno.connect({ transport: "unix", path: `${land.victim.folder}/control.sock` })).close();
    return "connected";
  },
  "connect-to-unix-socket-outside": (land) => ask(land.unix_socket),
  "connect-to-unix-socket-outside-by-node": (land) => askByNode(land.unix_socket),
  "connect-to-abstract-socket": (land) => ask(`\0${land.abstract_socket}`),
  "listen-on-unix-socket-outside": ({ hideout }) => {
    const path = `${hideout}/escaped-${Deno.pid}.sock`;
    Deno.listen({ transport: "unix", path }).close();
    return "listened";
  },
  "listen-in-folder-of-neighbour": (land) => {
    const path = `${land.victim.folder}/node.sock`;
    Deno.listen({ transport: "unix", path }).close();
    return "listened";
  },
  "listen-on-tcp": () => {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    return `listened on ${(listener.addr as Deno.NetAddr).port}`;
  },
  "listen-on-udp": () =>
    new Promise((resolve, reject) => {
      const socket = createSocket("udp4");
      socket.on("error", reject);
      socket.bind(0, "127.0.0.1", () => {
        resolve(`listened on ${socket.address().port}`);
        socket.close();
      });
    }),
  "listen-for-a-debugger": () => {
    inspector.open(0, "127.0.0.1");
    const at = inspector.url();
    inspector.close();
    if (!at) throw new Error("nobody listens");
    return at;
  },
};

async function ask(path: string): Promise<string> {
  using connection = await Deno.connect({ transport: "unix", path });
  await connection.write(new TextEncoder().encode("GET / HTTP/1.1\r\nhost: x\r\n\r\n"));
  const buffer = new Uint8Array(40);
  return new TextDecoder().decode(buffer.subarray(0, await connection.read(buffer) ?? 0));
}

function askByNode(path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.on("error", reject);
    socket.on("data", (data) => {
      socket.destroy();
      resolve(data.subarray(0, 40).toString());
    });
    socket.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
  });
}

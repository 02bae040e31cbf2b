/** Processes that are somebody else's, and more for oneself than one was given. */

import os from "node:os";
import process from "node:process";
import { type Probes } from "./attempt.ts";

export const probes: Probes = {
  "signal-node": (land) => String(process.kill(land.node_pid, 0)),
  "signal-neighbour": (land) => Deno.kill(land.victim.pid, "SIGCONT"),
  "terminate-neighbour": (land) => Deno.kill(land.victim.pid, "SIGTERM"),
  "terminate-bystander": (land) => Deno.kill(land.bystander_pid, "SIGTERM"),
  "terminate-bystander-by-node": (land) => String(process.kill(land.bystander_pid, "SIGTERM")),
  "set-priority-of-neighbour": (land) => os.setPriority(land.victim.pid, 1),
  "raise-own-priority": () => {
    os.setPriority(-1);
    os.setPriority(0);
    return "raised";
  },
  "become-another-user": () => {
    const before = process.geteuid!();
    process.seteuid!(before + 1);
    process.seteuid!(before);
    return "was another";
  },
  "list-network-interfaces": () => JSON.stringify(Deno.networkInterfaces()),
};

/** Tries the one escape that a request to `/prober/NAME` names, on what the body says is there. */

import { make, type Probes } from "./attempt.ts";
import { probes as files } from "./files.ts";
import { probes as modules } from "./modules.ts";
import { probes as network } from "./network.ts";
import { probes as processes } from "./processes.ts";
import { probes as storage } from "./storage.ts";

const probes: Probes = { ...files, ...modules, ...network, ...processes, ...storage };

Deno.serve(async (req) => {
  const name = new URL(req.url).pathname.split("/")[2];
  if (name === "names") return Response.json(Object.keys(probes).sort());
  return Response.json(await make(probes[name], await req.json()));
});

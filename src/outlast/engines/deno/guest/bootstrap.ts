/**
 * What a worker evaluates before the function: it connects to the node, listens, makes the runtime API, and waits to be
 * told to go on. Then Deno evaluates the function's own module, as its main module.
 */

import * as ai from "./ai.ts";
import { Boot } from "./boot.ts";
import { Calls } from "./calls.ts";
import * as consoles from "./console.ts";
import { Channel } from "./control.ts";
import * as events from "./events.ts";
import * as files from "./files.ts";
import * as listen from "./listen.ts";
import type { FromWorker, Ping, ToWorker } from "./messages.ts";
import * as nodeHttp from "./node_http.ts";
import { Notes } from "./notes.ts";
import * as requests from "./request.ts";
import { Serving } from "./serve.ts";
import * as storage from "./storage.ts";
import * as streams from "./streams.ts";
import { Tasks } from "./tasks.ts";
import * as unloads from "./unloading.ts";
import { warmUp } from "./warm_up.ts";
import * as websockets from "./websockets.ts";

const { exit, serve } = Deno;
const folder = Deno.env.get("OUTLAST_WORKER_DIR")!;
const usesNodeFiles = Deno.env.has("OUTLAST_NODE_FILES");
const hidden = (Deno.env.get("OUTLAST_HIDE") ?? "").split(",").filter(Boolean);
for (const name of ["OUTLAST_WORKER_DIR", "OUTLAST_HIDE", ...hidden]) Deno.env.delete(name);

const connection = await Deno.connect({ transport: "unix", path: `${folder}/control.sock` });
const channel = new Channel(connection, Notes.open(`${folder}/notes`));
const { send } = channel;

const boot = new Boot({ send, stay, serving: () => serving, fail });
const tasks = new Tasks({ send, onRejected: events.dispatchRejection });
const calls = new Calls(tasks.waitUntil);
const serving: Serving = new Serving(send, calls, boot.handlerFound);
const unloading = new unloads.Unloading(tasks);

let nodeIsGone = false;
let isEnding = false;
addEventListener("unload", (event) => {
  isEnding = true;
  // Its listeners could go on for ever, and nobody is left to end them.
  if (nodeIsGone) event.stopImmediatePropagation();
  channel.lastWords();
});
events.install({ send, isBootFailure: boot.isFailure, isEnding: () => isEnding });
unloads.install(tasks);
requests.install();
websockets.install();
streams.install();
consoles.install(send);
nodeHttp.install(`${folder}/node.sock`, () => boot.ready("node.sock"));
Deno.serve = serving.serve as unknown as typeof Deno.serve;
ai.install();
storage.install();
listen.install(() => serving.hasHandler);
files.install();
if (usesNodeFiles) files.installForNode();
Object.defineProperty(globalThis, "EdgeRuntime", {
  value: { waitUntil: tasks.waitUntil },
  configurable: true,
  writable: true,
});

const listener = serve(
  { path: `${folder}/http.sock`, onListen() {}, onError: serving.unsent },
  serving.dispatch,
);
/** Begun by the first ping of a node that has no use for this worker yet. */
let warmed: Promise<void> | undefined;
/** Settles when the code of the latest client to leave has had the time to begin what it does then. */
let abandoned: Promise<void> | undefined;

await new Promise<void>((resolve) => obey(resolve));

/** Deno goes on to the main module when nothing keeps its event loop alive. */
function goOn(): void {
  connection.unref();
  listener.unref();
}

/** From here on the worker lives until its node ends it. */
function stay(): void {
  connection.ref();
  listener.ref();
}

async function obey(boots: () => void): Promise<void> {
  try {
    for await (const message of channel.messages()) carryOut(message, boots);
  } finally {
    nodeIsGone = true;
    exit(1);
  }
}

function carryOut(message: ToWorker, boots: () => void): void {
  switch (message.type) {
    case "boot":
      warmed ??= Promise.resolve();
      warmed.then(() => {
        boot.begin(message.entrypoint.split("/").slice(-2).join("/"));
        goOn();
        boots();
      });
      break;
    case "beforeunload":
      unloading.tell(message.reason).then(() => send({ type: "unloaded", reason: message.reason }));
      break;
    case "exit":
      channel.drain().then(() => exit(0));
      break;
    case "abandoned":
      abandoned = calls.abandon(message.request);
      break;
    case "ping":
      warmed ??= warmUp(`${folder}/http.sock`);
      answer(message, warmed);
      break;
  }
}

async function answer({ number, no_clients }: Ping, warmed: Promise<void>): Promise<void> {
  await warmed;
  if (no_clients) {
    await abandoned;
    serving.abandonAll();
  }
  send({ type: "pong", number });
}

async function fail(lastWords: FromWorker): Promise<void> {
  send(lastWords);
  await channel.drain();
  exit(1);
}

import { Buffer } from "node:buffer";
import { caseOf, gate, workOf } from "../_shared/gate.ts";

let heard = "";
let saved = "";
const kept: unknown[] = [];

addEventListener("beforeunload", (event) => {
  heard = event.detail.reason;
  console.log(`heard ${heard}`);
  if (saved) EdgeRuntime.waitUntil(gate(`${saved}-${heard}`), { name: `${saved}-${heard}` });
  saved = "";
});

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function compute(): Promise<void> {
  const until = performance.now() + 10;
  while (performance.now() < until);
  await pause(0);
}

async function fill(add: () => unknown, ms = 10): Promise<void> {
  kept.push(add());
  await pause(ms);
}

/** First quickly, and then so slowly that nothing is missed. */
function fillSlowly(work: string): Promise<Response> {
  for (let mib = 0; mib < 32; mib++) kept.push(numbers());
  return untilTold(work, () => fill(numbers, 20));
}

async function untilTold(work: string, doing: () => Promise<unknown>): Promise<Response> {
  saved = work;
  while (!heard) await doing();
  return new Response(`told ${heard}`);
}

const MIB = 2 ** 20;
const numbers = () => Array.from({ length: MIB / 8 }, Math.random);

/** What a request to `/NAME/CASE?work=NAME` does; what it returns is the response. */
const cases: Record<string, (work: string) => Response | Promise<Response>> = {
  "task": (work) => {
    EdgeRuntime.waitUntil(gate(work), { name: work });
    return new Response("ok");
  },

  "waits": async (work) => new Response(await gate(work)),

  "streams": (work) => {
    const parts = async function* () {
      yield new TextEncoder().encode("begun");
      yield new TextEncoder().encode(await gate(work));
    };
    return new Response(ReadableStream.from(parts()));
  },

  "saves": (work) => {
    saved = work;
    return new Response("ok");
  },

  "until-told": (work) => untilTold(work, () => pause(1)),
  "computes-until-told": (work) => untilTold(work, compute),
  "fills-until-told": fillSlowly,

  "computes": () => {
    for (;;);
  },

  "leaves-many-and-computes": (work) => {
    for (let number = 0; number < 2000; number++) {
      EdgeRuntime.waitUntil(new Promise(() => {}), { name: `${work}-${number}` });
    }
    for (;;);
  },

  "computes-a-little": async () => {
    await compute();
    return new Response("ok");
  },
  "computes-a-while": async () => {
    for (let turns = 0; turns < 30; turns++) await compute();
    return new Response("ok");
  },
  "computes-in-task": (work) => {
    const task = async () => {
      for (;;) await compute();
    };
    EdgeRuntime.waitUntil(task(), { name: work });
    return new Response("ok");
  },

  "fills-heap": async () => {
    for (;;) await fill(() => [numbers(), numbers()]);
  },
  "fills-typed-arrays": async () => {
    for (;;) await fill(() => new Uint8Array(2 * MIB).fill(1));
  },
  "fills-buffers": async () => {
    for (;;) await fill(() => Buffer.alloc(2 * MIB, 1));
  },
  "fills-wasm": async () => {
    const memory = new WebAssembly.Memory({ initial: 0, maximum: 2 ** 16 });
    const grow = () => (memory.grow(32), new Uint8Array(memory.buffer, memory.buffer.byteLength - 2 * MIB).fill(1));
    for (;;) await fill(grow);
  },
  "fills-at-once": () => {
    kept.push(new Array(64 * MIB).fill(1.5));
    return new Response("there was room");
  },
};

Deno.serve((req) => cases[caseOf(req)]?.(workOf(req)) ?? new Response("ok"));

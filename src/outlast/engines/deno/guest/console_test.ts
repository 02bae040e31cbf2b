import assert from "node:assert/strict";
import { denoConsole, printTo } from "./console.ts";
import * as context from "./context.ts";
import type { FromWorker } from "./messages.ts";

type Log = Extract<FromWorker, { type: "log" }>;

function make() {
  const sent: Log[] = [];
  const DenoConsole = denoConsole();
  assert(DenoConsole, "this release of Deno has no console of its own to borrow");
  return { sent, console: new DenoConsole(printTo((message) => sent.push(message as Log))) };
}

Deno.test("each method has its level", () => {
  const { console, sent } = make();
  for (
    const method of ["debug", "log", "info", "dir", "dirxml", "table", "warn", "error", "trace"] as const
  ) {
    console[method](method);
  }
  console.assert(false, "assert");
  console.count("count");
  assert.deepEqual(sent.map(({ level, text }) => [level, text.split("\n")[0]]), [
    ["debug", "debug"],
    ["info", "log"],
    ["info", "info"],
    ["info", "dir"],
    ["info", "dirxml"],
    ["info", "table"],
    ["warning", "warn"],
    ["error", "error"],
    ["error", "Trace: trace"],
    ["error", "Assertion failed: assert"],
    ["info", "count: 1"],
  ]);
});

Deno.test("values look as Deno prints them", () => {
  const values = [
    "text",
    5,
    -0,
    10n,
    null,
    undefined,
    Symbol("s"),
    ["text", { a: { b: { c: { d: { e: 1 } } } } }],
    new Map([["a", new Set([1])]]),
    new Uint8Array(3),
    new Date(0),
    /x/g,
    () => {},
    class A {},
    Promise.resolve(1),
    new Error("no"),
    new URL("http://x/"),
  ];
  const { console, sent } = make();
  for (const value of values) console.log([value]);
  assert.deepEqual(
    sent.map((message) => message.text),
    values.map((value) => Deno.inspect([value], { colors: false })),
  );
});

Deno.test("formats, groups and empty lines", () => {
  const { console, sent } = make();
  console.log("%s is %d %o%c", "x", 4, [1], "color: red");
  console.log();
  console.group("group");
  console.log("two\nlines");
  console.groupEnd();
  console.log("end\n");
  assert.deepEqual(sent.map((message) => message.text), [
    "x is 4 [ 1 ]",
    "",
    "group",
    "  two\n  lines",
    "end\n",
  ]);
});

Deno.test("a line belongs to the request that its code belongs to", async () => {
  const { console, sent } = make();
  console.log("before");
  await context.run("r-1", async () => {
    await new Promise((resolve) => setTimeout(resolve));
    console.log("in it");
  });
  assert.deepEqual(sent.map((message) => message.request), [undefined, "r-1"]);
});

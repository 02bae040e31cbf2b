import assert from "node:assert/strict";
import { describe } from "./describe.ts";

const OWN = new URL("serve.ts", import.meta.url).href;

function thrown(...frames: string[]): Error {
  const error = new Error("no");
  error.stack = ["Error: no", ...frames.map((frame) => `    at ${frame}`)].join("\n");
  return error;
}

const USERS = "handler (file:///functions/hello/index.ts:3:9)";
const MACHINERY = [
  "new Promise (<anonymous>)",
  "AsyncLocalStorage.run (ext:deno_node/async_hooks.ts:1:1842)",
  `dispatch (${OWN}:59:30)`,
  `async ${OWN}:60:1`,
];

Deno.test("describe() ends a stack with the function's last frame", () => {
  const inside = [
    "JSON.parse (<anonymous>)",
    `Tasks.start (${OWN}:1:2)`,
    "async file:///functions/hello/index.ts:1:1",
  ];
  assert.equal(
    describe(thrown(...inside, USERS, ...MACHINERY)),
    ["Error: no", ...inside, USERS].join("\n    at "),
  );
});

Deno.test("describe() leaves a stack whole that none of the function's code is in", () => {
  assert.equal(describe(thrown(...MACHINERY)), ["Error: no", ...MACHINERY].join("\n    at "));
});

Deno.test("describe() takes nothing away but frames", () => {
  const nested = (...frames: string[]) =>
    Object.assign(thrown(...frames), { cause: thrown(...frames), list: [thrown(...frames), 1], code: 7 });
  const text = describe(nested(USERS, ...MACHINERY));
  assert.equal(text.match(/at handler/g)?.length, 3);
  assert.equal(text, describe(nested(USERS)));
});

Deno.test("describe() has words for whatever was thrown", () => {
  const fail = () => {
    throw new Error("nor this");
  };
  const { proxy, revoke } = Proxy.revocable(new Error("no"), {});
  revoke();
  const trapped = new Proxy(new Error("no"), { get: fail });
  const closed = new Error("no");
  for (const name of ["name", "message", "stack", "cause"]) {
    Object.defineProperty(closed, name, { get: fail });
  }
  const cyclic: Error = new Error("no", { cause: new AggregateError([1, null]) });
  (cyclic.cause as Error).cause = cyclic;
  let deep = new Error("no");
  for (let depth = 0; depth < 10_000; depth++) deep = new Error("no", { cause: deep });
  const odd = { [Symbol.for("Deno.customInspect")]: () => undefined };
  for (const error of ["", null, undefined, 0, Symbol(), proxy, trapped, closed, cyclic, deep, odd]) {
    assert.notEqual(describe(error).trim(), "");
  }
});

import assert from "node:assert/strict";
import { Calls } from "./calls.ts";
import * as context from "./context.ts";

function make() {
  const tasks: [string | undefined, string | undefined, Promise<unknown>][] = [];
  const calls = new Calls((work, options) => {
    tasks.push([context.requestId(), options?.name, work as Promise<unknown>]);
    return work;
  });
  return { calls, tasks };
}

const request = (path: string) => new Request(`http://x${path}`, { method: "POST" });

Deno.test("what has a client is no task", () => {
  const { calls, tasks } = make();
  calls.begin("r-1", request("/a"));
  calls.end("r-1");
  calls.begin("r-2", request("/b"));
  assert.equal(calls.fail("r-2", new Error("no")), false);
  assert.equal(calls.fail("r-3", new Error("it never began to run")), false);
  calls.abandonAll();
  assert.equal(tasks.length, 0);
});

Deno.test("a call is named by its path, whatever host the client has named", () => {
  const { calls, tasks } = make();
  for (const host of ["x:99999", "256.1.1.1", ""]) {
    calls.begin(host, { method: "GET", url: `http://${host}/a/b?c//d#e` } as Request);
  }
  calls.abandonAll();
  assert.deepEqual(tasks.map(([, name]) => name), ["GET /a/b", "GET /a/b", "GET /a/b"]);
});

Deno.test("abandonAll() makes a task of each running call, once", async () => {
  const { calls, tasks } = make();
  calls.begin("r-1", request("/a?b=c"));
  calls.begin("r-2", request("/d"));
  calls.abandonAll();
  calls.abandonAll();
  assert.deepEqual(tasks.map(([id, name]) => [id, name]), [["r-1", "POST /a"], ["r-2", "POST /d"]]);
  const error = new Error("no");
  calls.end("r-1");
  assert.equal(calls.fail("r-2", error), true);
  const [done, failed] = tasks.map(([, , work]) => work);
  await done;
  await assert.rejects(failed, error);
  calls.begin("r-1", request("/e"));
  assert.equal(calls.fail("r-1", error), false);
});

Deno.test("abandon() leaves a call the time to return, and to begin", async () => {
  const { calls, tasks } = make();
  calls.begin("r-1", request("/a"));
  calls.abandon("r-1");
  calls.abandon("r-2");
  assert.equal(tasks.length, 0);
  calls.end("r-1");
  calls.begin("r-2", request("/b"));
  // Timers of the same length fire in order.
  const later = Promise.withResolvers<void>();
  const wait = (turns: number) => turns ? setTimeout(() => wait(turns - 1), 5) : later.resolve();
  wait(4);
  await later.promise;
  assert.deepEqual(tasks.map(([id]) => id), ["r-2"]);
});

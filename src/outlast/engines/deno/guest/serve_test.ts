import assert from "node:assert/strict";
import { Calls } from "./calls.ts";
import type { FromWorker } from "./messages.ts";
import { parsePeer } from "./request.ts";
import { Serving } from "./serve.ts";
import { Tasks } from "./tasks.ts";

function make() {
  const sent: FromWorker[] = [];
  let handlers = 0;
  const send = (message: FromWorker) => sent.push(message);
  const tasks = new Tasks({ send, onRejected() {} });
  const serving = new Serving(send, new Calls(tasks.waitUntil), () => handlers++);
  const ask = async (headers: Record<string, string> = { "sb-request-id": "r-1" }) => {
    const info = { completed: Promise.resolve() } as Deno.ServeHandlerInfo;
    return await serving.dispatch(new Request("http://x/fn", { headers }), info);
  };
  // deno-lint-ignore no-explicit-any
  const serve = serving.serve as (...args: any[]) => Deno.HttpServer;
  return { sent, serving, serve, ask, handlers: () => handlers };
}

const answer = () => new Response("ok");

Deno.test("serve() takes every call form", async () => {
  const forms = [
    [answer],
    [{}, answer],
    [{ handler: answer }],
    [answer, { port: 1 }],
    [{
      text: "ok",
      fetch() {
        return new Response(this.text);
      },
    }],
  ];
  for (const form of forms) {
    const { serve, ask, handlers } = make();
    serve(...form);
    assert.equal(await (await ask()).text(), "ok");
    assert.equal(handlers(), 1);
  }
  for (const form of [[], [{}], [undefined], [null], [5]]) {
    assert.throws(() => make().serve(...form), TypeError);
  }
});

Deno.test("serve() passes the request itself and where it came from", async () => {
  const { serve, ask } = make();
  const seen: [Request, Deno.ServeHandlerInfo<Deno.NetAddr>][] = [];
  serve((request: Request, info: Deno.ServeHandlerInfo<Deno.NetAddr>) => {
    seen.push([request, info]);
    return answer();
  });
  await ask({ "x-outlast-peer": "[2001:db8::1]:443" });
  const [[request, info]] = seen;
  assert(request instanceof Request);
  assert.deepEqual(info.remoteAddr, { transport: "tcp", hostname: "2001:db8::1", port: 443 });
  assert.equal(await info.completed, undefined);
});

Deno.test("parsePeer()", () => {
  assert.deepEqual(parsePeer("203.0.113.9:4711"), { transport: "tcp", hostname: "203.0.113.9", port: 4711 });
  assert.deepEqual(parsePeer("[::1]:80"), { transport: "tcp", hostname: "::1", port: 80 });
  assert.deepEqual(parsePeer(""), { transport: "tcp", hostname: "", port: 0 });
});

Deno.test("a second serve() wins, with a warning while the first still serves", async () => {
  const { serve, ask, sent } = make();
  const first = serve(() => new Response("first"));
  serve(() => new Response("second"));
  assert.equal(await (await ask()).text(), "second");
  assert.deepEqual(sent.map((message) => message.type === "log" && message.level), ["warning"]);
  await first.shutdown();
  assert.equal(await (await ask()).text(), "second");
});

Deno.test("a server that has been shut down answers 503, until the next one", async () => {
  const { serve, ask, sent } = make();
  const server = serve(answer);
  await server.shutdown();
  await server.finished;
  assert.equal((await ask()).status, 503);
  serve(answer);
  assert.equal((await ask()).status, 200);
  assert.deepEqual(sent, []);
});

Deno.test("an aborted signal is a shutdown", async () => {
  for (const early of [true, false]) {
    const { serve } = make();
    const controller = new AbortController();
    if (early) controller.abort();
    const server = serve({ signal: controller.signal }, answer);
    controller.abort();
    assert.equal(await server.finished, undefined);
  }
});

Deno.test("onListen hears the address that was asked for, after serve() has returned", async () => {
  const cases = [
    [{}, { transport: "tcp", hostname: "0.0.0.0", port: 8000 }],
    [{ port: 9, hostname: "::1" }, { transport: "tcp", hostname: "::1", port: 9 }],
    [{ path: "/x.sock" }, { transport: "unix", path: "/x.sock" }],
  ];
  for (const [options, address] of cases) {
    const { promise, resolve } = Promise.withResolvers<Deno.Addr>();
    let returned = false;
    const onListen = (addr: Deno.Addr) => {
      assert(returned);
      resolve(addr);
    };
    const server = make().serve({ ...options, onListen }, answer);
    returned = true;
    assert.deepEqual(await promise, address);
    assert.deepEqual(server.addr, address);
  }
});

Deno.test("what onError cannot answer is answered for it", async () => {
  const fail = () => {
    throw new Error("first");
  };
  const onErrors = [
    [() => new Response("mended", { status: 418 }), 418, 0],
    [() => Promise.resolve(new Response("mended", { status: 418 })), 418, 0],
    [() => Promise.reject(new Error("second")), 500, 1],
    [fail, 500, 1],
    [() => "text", 502, 1],
  ] as const;
  for (const [onError, status, lines] of onErrors) {
    const { serve, ask, sent } = make();
    serve({ onError }, fail);
    assert.equal((await ask()).status, status);
    assert.equal(sent.length, lines);
    for (const message of sent) {
      assert.partialDeepStrictEqual(message, { type: "log", level: "error", request: "r-1" });
    }
  }
});

// The functions of the same names for edge-runtime: `node edge_runtime.cjs WORK`.
const { EdgeRuntime, runServer } = require("edge-runtime");

const common = `
  const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

  // There is no clock of CPU time in here; this process has a CPU to itself.
  async function work() {
    await pause(15);
    const until = performance.now() + 20;
    while (performance.now() < until);
  }
`;

const works = {
  later: `addEventListener("fetch", (event) => {
    event.waitUntil(pause(10));
    event.respondWith(new Response("ok"));
  });`,
  burning: `addEventListener("fetch", (event) => {
    event.waitUntil(work());
    event.respondWith(new Response("ok"));
  });`,
};

const runtime = new EdgeRuntime({ initialCode: common + works[process.argv[2]] });
runServer({ runtime, host: "127.0.0.1", port: 0 }).then((server) => console.log(server.url));

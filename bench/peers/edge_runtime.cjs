// The functions of the same names for edge-runtime: `node edge_runtime.cjs WORK`.
const { EdgeRuntime, runServer } = require("edge-runtime");

const common = `
  const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

  async function burn(steps) {
    await pause(5);
    for (let step = 0; step < steps; step++);
  }
`;

const works = {
  later: `addEventListener("fetch", (event) => {
    event.waitUntil(pause(10));
    event.respondWith(new Response("ok"));
  });`,
  burning: `addEventListener("fetch", (event) => {
    event.waitUntil(burn(Number(new URL(event.request.url).searchParams.get("steps"))));
    event.respondWith(new Response("ok"));
  });`,
};

const runtime = new EdgeRuntime({ initialCode: common + works[process.argv[2]] });
runServer({ runtime, host: "127.0.0.1", port: 0 }).then((server) => console.log(server.url));

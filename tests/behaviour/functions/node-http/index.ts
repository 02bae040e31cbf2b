import { createServer } from "node:http";
import { gate } from "../_shared/gate.ts";

createServer((req, res) => {
  const work = new URL(req.url!, "http://localhost").searchParams.get("work")!;
  EdgeRuntime.waitUntil(gate(work), { name: work });
  console.log(`${work} is served`);
  res.setHeader("x-client", String(req.socket.remoteAddress));
  res.end("from node:http");
}).listen(8000);

import { gate, workOf } from "../_shared/gate.ts";

Deno.serve((req) => {
  if (req.headers.get("upgrade") !== "websocket") return new Response("websocket, please", { status: 426 });
  const work = workOf(req);
  const { socket, response } = Deno.upgradeWebSocket(req);
  socket.onmessage = (event) => socket.send(event.data);
  socket.onclose = () => {
    console.log(`${work} closed`);
    EdgeRuntime.waitUntil(gate(work), { name: work });
  };
  return response;
});

import { Hono } from "hono";
import { cors } from "hono/cors";
import { gate } from "../_shared/gate.ts";

const app = new Hono().basePath("/hono");
app.use(cors());

app.get("/books/:id", (c) => {
  const work = c.req.query("work")!;
  EdgeRuntime.waitUntil(gate(work), { name: work });
  return c.text(`from hono, book ${c.req.param("id")}`);
});

Deno.serve(app.fetch);

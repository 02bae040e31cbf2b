import { Hono } from "npm:hono@4";
import { gate } from "../_shared/gate.ts";

const app = new Hono().basePath("/hono");

app.get("/books/:id", (c) => {
  const work = c.req.query("work")!;
  EdgeRuntime.waitUntil(gate(work), { name: work });
  return c.text(`from hono, book ${c.req.param("id")}`);
});

Deno.serve(app.fetch);

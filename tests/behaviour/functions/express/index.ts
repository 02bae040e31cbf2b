import express from "npm:express@5";
import { gate } from "../_shared/gate.ts";

const app = express();
app.use(express.json());

app.post("/express/books/:id", (req, res) => {
  const work = String(req.query.work);
  EdgeRuntime.waitUntil(gate(work), { name: work });
  res.status(201).json({ id: req.params.id, title: req.body.title, client: req.socket.remoteAddress });
});

app.listen(3000, () => console.log("express listens"));

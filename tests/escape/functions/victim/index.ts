/** Another function: what the prober is after. */

const folder = Deno.env.get("TMPDIR")!;
const file = `${folder}/kept.txt`;
await Deno.writeTextFile(file, "kept in a file");

Deno.serve(() => Response.json({ pid: Deno.pid, folder: folder.replace(/\/tmp$/, ""), file }));

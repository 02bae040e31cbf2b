/** Another function: what the prober is after. */

const folder = Deno.env.get("TMPDIR")!;
const file = `${folder}/kept.txt`;
await Deno.writeTextFile(file, "kept in a file");

const where = JSON.stringify({ pid: Deno.pid, folder: folder.replace(/\/tmp$/, ""), file }) + "\n";

/** Does not end before the client leaves. */
const held = () => new ReadableStream({ start: (controller) => controller.enqueue(new TextEncoder().encode(where)) });

Deno.serve((request) => new Response(request.url.endsWith("?held") ? held() : where));

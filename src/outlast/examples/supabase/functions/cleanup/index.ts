// A worker that keeps something in memory, and puts it away before it ends.
//
//   curl http://127.0.0.1:54321/functions/v1/cleanup
//
// Stop the server, or save this file: the worker says what it does with the visits it has counted.

let visits = 0;

async function saveVisits() {
  await new Promise((resolve) => setTimeout(resolve, 100)); // a row in a database, say
  console.log(`${visits} visits saved`);
}

addEventListener("beforeunload", (event) => {
  console.log(`worker is about to end: ${event.detail.reason}`);
  EdgeRuntime.waitUntil(saveVisits(), { name: "save-visits" });
});

Deno.serve(() => Response.json({ visits: ++visits }));

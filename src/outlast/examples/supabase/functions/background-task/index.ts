const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function makeReport(id: string) {
  for (const step of ["collect", "draw", "store"]) {
    await pause(500); // the work itself: a query, a page to render, an upload
    console.log(`report ${id}: ${step} done`);
  }
}

Deno.serve(() => {
  const id = crypto.randomUUID().slice(0, 8);

  // Not awaited: the response leaves at once, the report is made after it.
  EdgeRuntime.waitUntil(makeReport(id), { name: "make-report" });

  return Response.json({ accepted: id }, { status: 202 });
});

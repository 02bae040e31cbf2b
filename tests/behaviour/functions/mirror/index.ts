/** Answers with the request as the function sees it. */
Deno.serve(async (req, info) =>
  Response.json({
    method: req.method,
    url: req.url,
    headers: Object.fromEntries(req.headers),
    body: await req.text(),
    client: `${info.remoteAddr.hostname}:${info.remoteAddr.port}`,
  })
);

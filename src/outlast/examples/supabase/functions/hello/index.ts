// A plain function, with no work left behind.
//
//   curl 'http://127.0.0.1:54321/functions/v1/hello?name=Ada'

Deno.serve((req) => {
  const name = new URL(req.url).searchParams.get("name") ?? "world";
  return Response.json({ message: `Hello, ${name}!` });
});

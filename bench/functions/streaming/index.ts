// A body of so many MiB, made in pieces as the client takes them.

function chunks(mib: number): ReadableStream<Uint8Array> {
  const chunk = new Uint8Array(65_536);
  let left = mib * 16;
  return new ReadableStream({
    pull(controller) {
      if (left-- > 0) controller.enqueue(chunk);
      else controller.close();
    },
  });
}

Deno.serve((request) => new Response(chunks(Number(new URL(request.url).searchParams.get("mib")))));

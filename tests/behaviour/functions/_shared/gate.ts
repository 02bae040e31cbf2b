/** Work that lasts until the test lets it go. Resolves to what the test says then. */
export async function gate(name: string, signal?: AbortSignal): Promise<string> {
  const answer = await fetch(`${Deno.env.get("GATE_URL")}/${name}`, { signal });
  return await answer.text();
}

/** `?work=NAME` of the request. */
export function workOf(req: Request): string {
  return new URL(req.url).searchParams.get("work")!;
}

/** `CASE` of `/FUNCTION/CASE`. */
export function caseOf(req: Request): string {
  return new URL(req.url).pathname.split("/")[2] ?? "";
}

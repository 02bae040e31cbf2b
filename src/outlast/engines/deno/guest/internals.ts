/** What Deno keeps for its own modules under a symbol. Any of it may be missing in another version. */

export function internals<T>(): Partial<T> {
  const all = Deno as unknown as Record<symbol, Partial<T> | undefined>;
  const { internal } = Deno as unknown as { internal: symbol };
  return all[internal] ?? {};
}

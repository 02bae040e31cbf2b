/** Global names that Supabase's runtime has and Deno has not, and the other way round. */

import { Session } from "./ai.ts";

export function install(): void {
  const value = { ai: { Session } };
  Object.defineProperty(globalThis, "Supabase", { value, configurable: true, writable: true });
  // Deno keeps it on disk, where workers cannot write. There, it throws even if a package only looks whether it exists.
  delete (globalThis as { localStorage?: Storage }).localStorage;
}

/** What to do about errors that say less than their reader needs: Deno's own speak of options that nobody can give. */

export const INSTEAD =
  "keep what must outlast the worker in a database (SUPABASE_DB_URL) or in Supabase Storage";
const NATIVE =
  "packages with native code do not work, as on Supabase: look for one in JavaScript or WebAssembly";
const NO_PROGRAMS = "a function cannot run programs";
const HINTS: [RegExp, string][] = [
  [
    /\bopenKv is not a function/,
    'Deno.openKv() needs "unstable": ["kv"] in the function\'s deno.json, and takes only a path here, such as ' +
    `":memory:"; ${INSTEAD}`,
  ],
  [
    /\bDeno\.cron is not a function/,
    "functions have no schedule of their own, as on Supabase: have them called by cron, a systemd timer or pg_cron",
  ],
  [/NotCapable: Requires ffi access|NotCapable: Requires sys access[^]*\bdetect-libc\b/, NATIVE],
  [
    /NotCapable: Requires (read|write) access/,
    "a function reads what is in its own folder, in _shared and in its static_files, and writes to /tmp, a temporary " +
    "folder of its own",
  ],
  [/NotCapable: Requires run access/, NO_PROGRAMS],
  [/NotCapable: Requires sys access/, "this is nothing that a function may know of its machine"],
];
if (Deno.permissions.querySync({ name: "run" }).state !== "granted") {
  // Deno looks for a program before it refuses to run it.
  HINTS.push([/: Failed to spawn '/, NO_PROGRAMS]);
}
const SOME = /NotCapable: Requires |is not a function|Failed to spawn '/;

/** The text of an error, or what holds one, with a hint below it if there is one. */
export function hinted(text: string): string {
  if (!SOME.test(text)) return text;
  const hint = HINTS.find(([words]) => words.test(text))?.[1];
  return hint === undefined ? text : `${text}\nhint: ${hint}`;
}

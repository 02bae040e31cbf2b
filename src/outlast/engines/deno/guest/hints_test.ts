import assert from "node:assert/strict";
import { denoConsole, printTo } from "./console.ts";
import { describe } from "./describe.ts";

const REFUSED = "Requires %, run again with the --allow-x flag";

function notCapable(access: string): Error {
  return new Deno.errors.NotCapable(REFUSED.replace("%", access));
}

function thrownBy(code: () => unknown): unknown {
  try {
    return code();
  } catch (error) {
    return error;
  }
}

type Missing = { openKv(): void; cron(): void };
const HINTED: [unknown, RegExp][] = [
  [thrownBy(() => (Deno as unknown as Missing).openKv()), /"unstable": \["kv"\].*SUPABASE_DB_URL/],
  [thrownBy(() => (Deno as unknown as Missing).cron()), /pg_cron/],
  [notCapable('read access to "../other/secret.txt"'), /static_files.*\/tmp/],
  [notCapable('write access to "./out.txt"'), /static_files.*\/tmp/],
  [notCapable('run access to "ls"'), /cannot run programs/],
  [thrownBy(() => new Deno.Command("no-such-program").outputSync()), /cannot run programs/],
  [notCapable('ffi access to "/x/bcrypt.node"'), /native code/],
  [notCapable('sys access to "networkInterfaces"'), /of its machine/],
];

Deno.test("an error that says less than its reader needs has a hint below it, wherever it is printed", () => {
  for (const [error, hint] of HINTED) {
    const [text, last] = describe(error).split("\nhint: ");
    assert.match(text, /is not a function|Requires|Failed to spawn/);
    assert.match(last, hint);
  }
  const printed: string[] = [];
  const console = new (denoConsole()!)(
    printTo((message) => printed.push((message as { text: string }).text)),
  );
  console.error("Failed:", HINTED[2][0]);
  assert.match(printed[0], /^Failed: NotCapable: [^]*\nhint: .*static_files/);
  const json = JSON.stringify({ error: `${HINTED[2][0]}` });
  console.error(json);
  assert.equal(printed[1], json);
});

Deno.test("a package that looks for the kind of its native code has the hint about that", () => {
  const error = notCapable('sys access to "networkInterfaces"');
  error.stack =
    `${error}\n    at getReport (file:///deno/npm/registry/detect-libc/2.1.2/lib/process.js:15:31)`;
  assert.match(describe(error), /\nhint: .*native code/);
});

Deno.test("other errors have no hint", () => {
  for (const error of [new TypeError("x is not a function"), new Error("Requires read access")]) {
    assert.doesNotMatch(describe(error), /hint:/);
  }
});

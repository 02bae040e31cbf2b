/** What a probe is: a function that says how far it came, or throws what stopped it. */

/** The places and processes that there are to try: what `tests/escape/land.py` tells. */
export interface Land {
  secret: string;
  secret_json: string;
  hideout: string;
  project: string;
  functions: string;
  state_file: string;
  deno_dir: string;
  home: string;
  disk: string;
  node_pid: number;
  bystander_pid: number;
  url: string;
  unix_socket: string;
  datagram_socket: string;
  abstract_socket: string;
  victim: { pid: number; folder: string; file: string };
}

export type Probe = (land: Land) => unknown;
export type Probes = Record<string, Probe>;

export interface Answer {
  escaped: boolean;
  detail: string;
}

export class Foiled extends Error {
  override name = "Foiled";
}

export async function make(probe: Probe, land: Land): Promise<Answer> {
  try {
    return { escaped: true, detail: String(await probe(land)) };
  } catch (error) {
    // Where Outlast says what that means, the wall's own error is the cause.
    const { cause, name } = error as Error;
    const { code = "", message } = (name === "NotSupported" && cause || error) as Error & { code?: string };
    return { escaped: false, detail: `${name}: ${code}: ${message}` };
  }
}

/** A path in the worker's own temporary folder, where there is nothing yet. */
export function own(name: string): string {
  const path = `${Deno.env.get("TMPDIR")}/${name}`;
  try {
    Deno.removeSync(path, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return path;
}

export function read(path: string | URL, wanted: string): string {
  return holds(Deno.readTextFileSync(path), wanted);
}

export function holds(text: string, wanted: string): string {
  if (!text.includes(wanted)) throw new Foiled(`there is: ${text.slice(0, 200)}`);
  return `read ${JSON.stringify(text.slice(0, 40))}`;
}

/** Makes a new file there, and takes it away again. */
export function write(folder: string): string {
  const file = `${folder}/escaped-${Deno.pid}`;
  Deno.writeTextFileSync(file, "escaped");
  Deno.removeSync(file);
  return `wrote ${file}`;
}

/** Opens a file for writing, and leaves it as it is. */
export function append(file: string): string {
  Deno.openSync(file, { append: true }).close();
  return `can append to ${file}`;
}

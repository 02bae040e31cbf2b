import { hinted } from "./hints.ts";

const { inspect } = Deno;

const FRAMES = /(?:\n +(?:at .+|\.\.\. \d+ lines matching .+))+/g;
const LOCATION = /^ +at (?:.* \(|async )?(.+)$/;
/** What the locations of such frames begin with. */
const MACHINERY = ["ext:", "node:", "<anonymous>", new URL(".", import.meta.url).href];

/**
 * An error as Deno prints it, with stack and causes, but without the frames of Deno and of Outlast that led to the
 * function's own code. Never throws, whatever was thrown.
 */
export function describe(error: unknown): string {
  try {
    // Of an empty text nobody would see that it is there.
    return typeof error === "string" && error !== ""
      ? error
      : hinted(inspect(error, { colors: false }).replace(FRAMES, trimmed));
  } catch {
    return "[an error that cannot be printed]";
  }
}

/** Frames of which none is the function's say where it came from all the same, and stay. */
function trimmed(frames: string): string {
  const lines = frames.split("\n");
  const end = lines.findLastIndex(isUsers) + 1;
  if (end === 0 || end === lines.length) return frames;
  // What follows the stack, such as the brace before an error's properties, stands on its last line.
  return lines.slice(0, end).join("\n") + /(?: \{|,)?$/.exec(lines.at(-1)!)![0];
}

/** Lines that "match" stand below, with the error's cause. */
function isUsers(line: string): boolean {
  const location = LOCATION.exec(line)?.[1];
  return location !== undefined && !MACHINERY.some((beginning) => location.startsWith(beginning));
}

const { inspect } = Deno;

/** An error as Deno prints it, with stack and causes; never throws, whatever was thrown. */
export function describe(error: unknown): string {
  try {
    return typeof error === "string" ? error : inspect(error, { colors: false });
  } catch {
    return "[an error that cannot be printed]";
  }
}

import { caseOf } from "../_shared/gate.ts";

const cases: Record<string, () => unknown> = {
  "throws": () => {
    throw new Error("the handler threw");
  },
  "rejects": async () => {
    await Promise.resolve();
    throw new Error("the handler rejected");
  },
  "returns-nothing": () => undefined,
  "returns-text": () => "text",
  "stops-in-its-body": () => {
    const chunks = async function* () {
      yield new TextEncoder().encode("one, ");
      await Promise.resolve();
      throw new Error("the body broke off");
    };
    return new Response(ReadableStream.from(chunks()));
  },
};

Deno.serve((req) => cases[caseOf(req)]() as Response);

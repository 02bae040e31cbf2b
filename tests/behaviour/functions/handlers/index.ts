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
};

Deno.serve((req) => cases[caseOf(req)]() as Response);

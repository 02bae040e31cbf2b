import { caseOf, gate, workOf } from "../_shared/gate.ts";

const done = () => new Promise<void>((resolve) => setTimeout(resolve));

async function failing(work: string): Promise<void> {
  await gate(work);
  throw new Error(`${work} failed`);
}

/** What a request to `/tasks/CASE?work=NAME` does; what it returns is the response. */
const cases: Record<string, (work: string) => unknown> = {
  "in-handler": (work) => void EdgeRuntime.waitUntil(gate(work), { name: work }),

  "without-name": (work) => void EdgeRuntime.waitUntil(gate(work)),

  "after-response": (work) => {
    const late = async () => {
      await gate(`${work}-first`);
      EdgeRuntime.waitUntil(gate(work), { name: work });
      console.log(`${work} started`);
    };
    late();
  },

  "nested": (work) => {
    const outer = async () => {
      await gate(`${work}-outer`);
      EdgeRuntime.waitUntil(gate(`${work}-inner`), { name: `${work}-inner` });
    };
    EdgeRuntime.waitUntil(outer(), { name: `${work}-outer` });
  },

  "ten-thousand": (work) => {
    const opened = gate(work);
    for (let n = 0; n < 10_000; n++) EdgeRuntime.waitUntil(opened.then(done), { name: work });
  },

  "twice": (work) => {
    const task = gate(work);
    return [EdgeRuntime.waitUntil(task, { name: work }), EdgeRuntime.waitUntil(task, { name: work })].map((
      returned,
    ) => returned === task);
  },

  "not-awaitable": () => EdgeRuntime.waitUntil(42 as never),

  "settled": async (work) => {
    const settled = Promise.resolve();
    await settled;
    EdgeRuntime.waitUntil(settled, { name: work });
  },

  "rejected": (work) => void EdgeRuntime.waitUntil(failing(work), { name: work }),

  "three-of-which-the-first-fails": (work) => {
    // deno-lint-ignore require-await
    const raise = async () => {
      throw new Error(`${work}-1 failed`);
    };
    EdgeRuntime.waitUntil(raise(), { name: `${work}-1` });
    EdgeRuntime.waitUntil(gate(`${work}-2`), { name: `${work}-2` });
    EdgeRuntime.waitUntil(gate(`${work}-3`), { name: `${work}-3` });
  },

  "timeout": (work) => void EdgeRuntime.waitUntil(gate(work), { name: work, timeout: 50 }),

  "in-time": (work) => void EdgeRuntime.waitUntil(gate(work), { name: work, timeout: 60_000 }),

  "stops-at-timeout": (work) => {
    EdgeRuntime.waitUntil((signal) => gate(work, signal), { name: work, timeout: 300 });
  },

  "wrong-options": () => {
    try {
      EdgeRuntime.waitUntil(done(), { name: 1 } as never);
    } catch (error) {
      return `${error}`;
    }
  },

  "function-form": async (work) => {
    async function refresh() {
      await gate(work);
      return "refreshed";
    }
    const task = EdgeRuntime.waitUntil(refresh);
    task.then((result) => console.log(`${work} ${result}`));
    await done();
  },

  "prints-later": (work) => {
    const printing = async () => {
      await gate(work);
      console.log(`${work} has the environment`, Deno.env.get("SB_EXECUTION_ID"));
    };
    EdgeRuntime.waitUntil(printing(), { name: work });
  },
};

Deno.serve(async (req) => {
  const answer = await cases[caseOf(req)](workOf(req));
  return Response.json(answer ?? null);
});

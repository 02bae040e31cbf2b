// What `waitUntil` adds to tasks that are there anyway: microseconds for each, as JSON. `call_us` is how long the call
// takes; `task_us` also has all that it makes happen until the tasks have settled.

const TASKS = 200;
const TURNS = 50;

type Keep = (task: Promise<void>) => unknown;

async function task(): Promise<void> {
  await new Promise<void>((resolve) => queueMicrotask(resolve));
}

const nextTurn = () => new Promise<void>((resolve) => setTimeout(resolve, 0));

async function measure(keep: Keep): Promise<{ call: number; task: number }> {
  const took = { call: 0, task: 0 };
  for (let turn = 0; turn < TURNS; turn++) {
    const began = performance.now();
    const tasks = Array.from({ length: TASKS }, task);
    const started = performance.now();
    for (const one of tasks) keep(one);
    took.call += performance.now() - started;
    await Promise.all(tasks);
    await nextTurn();
    took.task += performance.now() - began;
  }
  return took;
}

const eachUs = (kept: number, floating: number) => (kept - floating) * 1000 / (TASKS * TURNS);

Deno.serve(async () => {
  const floating = await measure(() => {});
  const kept = await measure((task) => EdgeRuntime.waitUntil(task));
  return Response.json({
    call_us: eachUs(kept.call, floating.call),
    task_us: eachUs(kept.task, floating.task),
  });
});

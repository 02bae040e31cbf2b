// The functions of the same names for workerd.

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// A function is shown no clock that runs while it computes, and is therefore told how much is 20 ms.
async function work(steps) {
  await pause(15);
  for (let step = 0; step < steps; step++);
}

export const later = {
  fetch(_request, _env, context) {
    context.waitUntil(pause(10));
    return new Response("ok");
  },
};

export const burning = {
  fetch(request, _env, context) {
    context.waitUntil(work(Number(new URL(request.url).searchParams.get("steps"))));
    return new Response("ok");
  },
};

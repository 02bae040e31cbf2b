// The functions of the same names for workerd.

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function burn(steps) {
  await pause(5);
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
    context.waitUntil(burn(Number(new URL(request.url).searchParams.get("steps"))));
    return new Response("ok");
  },
};

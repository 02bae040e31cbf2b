// Work that begins with the worker, before any request: each worker does it once.
//
//   curl http://127.0.0.1:54321/functions/v1/top-level-task

const rates = new Map<string, number>();

async function loadRates() {
  for (const [currency, rate] of [["EUR", 1.08], ["GBP", 1.27], ["JPY", 0.0066]] as const) {
    await new Promise((resolve) => setTimeout(resolve, 400)); // one slow call after the other
    rates.set(currency, rate);
    console.log(`rate of ${currency} loaded`);
  }
}

EdgeRuntime.waitUntil(loadRates(), { name: "load-rates" });

// The first requests need not wait for all of it: they are told what is known so far.
Deno.serve(() => Response.json({ rates: Object.fromEntries(rates) }));

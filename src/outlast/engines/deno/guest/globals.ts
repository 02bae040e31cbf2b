/** Global names that Supabase's runtime has and Deno has not, and the other way round. */

/** Supabase itself runs the models. */
class Session {
  #model: string;

  constructor(model: string) {
    this.#model = model;
  }

  run(): Promise<never> {
    const text =
      `Supabase.ai.Session(${JSON.stringify(this.#model)}) is not available: Outlast runs no models. ` +
      "Call the API of a service, or of a model server of yours, instead";
    return Promise.reject(new Deno.errors.NotSupported(text));
  }
}

export function install(): void {
  const value = { ai: { Session } };
  Object.defineProperty(globalThis, "Supabase", { value, configurable: true, writable: true });
  // Deno keeps it on disk, where workers cannot write. There, it throws even if a package only looks whether it exists.
  delete (globalThis as { localStorage?: Storage }).localStorage;
}

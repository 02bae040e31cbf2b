/** Boots a function: from when its code may be evaluated until requests can be sent. */

import { describe } from "./describe.ts";
import type { FromWorker, Send } from "./messages.ts";
import type { Serving } from "./serve.ts";

const { setTimeout } = globalThis;

export interface BootHooks {
  send: Send;
  /** Called when the process must no longer end by running out of work. */
  stay(): void;
  serving: () => Serving;
  /** Called when the evaluation of the module failed; says so, and ends the process. */
  fail(lastWords: FromWorker): void;
}

type Fetch = (request: Request, info: Deno.ServeHandlerInfo<Deno.NetAddr>) => Response | Promise<Response>;

export class Boot {
  #hooks: BootHooks;
  #ready = false;
  #loaded = false;
  #failed = false;

  constructor(hooks: BootHooks) {
    this.#hooks = hooks;
  }

  /** `name` is what messages call the function's file. Call it just before the code is evaluated. */
  begin(name: string): void {
    addEventListener("load", () => {
      this.#hooks.stay();
      this.#onLoad(name);
    }, { once: true });
  }

  /**
   * A module that throws later in the same turn has not booted, so this waits for the next turn, but not for the end of
   * the module, which may await for ever once it serves.
   */
  handlerFound = (): void => {
    this.#hooks.stay();
    if (!this.#ready) setTimeout(() => this.ready());
  };

  ready = (socket?: "node.sock"): void => {
    if (this.#ready || this.#failed) return;
    this.#ready = true;
    this.#hooks.send({ type: "ready", socket });
  };

  /** Whether an unhandled rejection is the failed evaluation of the function's module itself. */
  isFailure = async (): Promise<boolean> => {
    if (this.#loaded) return this.#failed;
    const nextTurn = new Promise<void>((resolve) => setTimeout(resolve));
    await Promise.race([this.#module(), nextTurn]);
    return this.#failed;
  };

  async #onLoad(name: string): Promise<void> {
    const module = await this.#module();
    this.#loaded = true;
    if (this.#failed) return;
    const { serving, send } = this.#hooks;
    const served = module?.default as { fetch?: Fetch } | undefined;
    if (!serving().hasHandler && typeof served?.fetch === "function") {
      serving().serve({ fetch: served.fetch.bind(served) });
    }
    if (serving().hasHandler) this.ready();
    else if (!this.#ready) {
      const handler = typeof module?.default === "function" ? "; its default export is just a function" : "";
      const text =
        `${name} was evaluated, but serves nothing yet: call Deno.serve(handler) or export default { fetch }${handler}`;
      send({ type: "log", level: "warning", text });
    }
  }

  /** Settles when the function's module does. This waits for its evaluation, and never starts it. */
  async #module(): Promise<Record<string, unknown> | undefined> {
    try {
      return await import(Deno.mainModule);
    } catch (error) {
      if (!this.#failed) {
        this.#failed = true;
        // Once it serves, its boot is over. Deno ends the process of a module that throws all the same.
        this.#hooks.fail({ type: this.#ready ? "uncaught" : "boot_failed", error: describe(error) });
      }
    }
  }
}

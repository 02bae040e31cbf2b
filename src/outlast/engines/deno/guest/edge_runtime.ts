/** Replaces `jsr:@edge-runtime/js`: the runtime's own API. */

const { EdgeRuntime } = globalThis;
export { EdgeRuntime };
export default EdgeRuntime;

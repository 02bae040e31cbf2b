/** What `jsr:@edge-runtime/js` is here: the runtime's own API. */

const { EdgeRuntime } = globalThis;
export { EdgeRuntime };
export default EdgeRuntime;

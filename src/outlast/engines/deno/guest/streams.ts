/**
 * The code of a stream runs when somebody reads it; that of a response when Deno does, in the context of no request. Here
 * it belongs to the request whose code has made the stream.
 */

import * as context from "./context.ts";

type Method = (...args: unknown[]) => unknown;

const OF_SOURCE = ["autoAllocateChunkSize", "cancel", "pull", "start", "type"];
const OF_ITERATOR = ["next", "return"];

/** The requests whose streams have failed, by what they have failed with. */
const failures = new WeakMap<object, string>();

/** The request that an error of a stream belongs to, as far as that is known. */
export function requestOf(error: unknown): string | undefined {
  return failures.get(error as object);
}

/** Has these methods of an object run in the context of the request. What is no method keeps its value. */
function bound(id: string, owner: object, names: string[]): Record<string, unknown> {
  const failed = (error: unknown) => {
    if (Object(error) === error) failures.set(error as object, id);
  };
  const call = (method: Method, args: unknown[]) => {
    try {
      const result = method.apply(owner, args);
      if (result instanceof Promise) result.catch(failed);
      return result;
    } catch (error) {
      failed(error);
      throw error;
    }
  };
  const members: Record<string, unknown> = {};
  for (const name of names) {
    const member: unknown = Reflect.get(owner, name);
    members[name] = typeof member === "function"
      ? (...args: unknown[]) => context.run(id, call, member as Method, args)
      : member;
  }
  return members;
}

/** Call before the user's code can make any. */
export function install(): void {
  const { from } = ReadableStream;

  ReadableStream.from = (iterable) => {
    const id = context.requestId();
    if (id === undefined || Object(iterable) !== iterable) return from(iterable);
    const kind = Symbol.asyncIterator in iterable ? Symbol.asyncIterator : Symbol.iterator;
    const source = iterable as Record<symbol, () => object>;
    return from({ [kind]: () => bound(id, source[kind](), OF_ITERATOR) } as unknown as typeof iterable);
  };

  globalThis.ReadableStream = new Proxy(ReadableStream, {
    construct(native, [source, ...rest], itself) {
      const id = context.requestId();
      const callbacks = id !== undefined && Object(source) === source ? bound(id, source, OF_SOURCE) : source;
      return Reflect.construct(native, [callbacks, ...rest], itself);
    },
  });
  Object.defineProperty(ReadableStream.prototype, "constructor", { value: globalThis.ReadableStream });
}

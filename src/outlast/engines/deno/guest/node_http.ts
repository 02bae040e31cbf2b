/** Has servers of node:http (Express, Fastify, ...) listen on the worker's socket, whatever port they name. */

import { EventEmitter } from "node:events";
import type { Server as HttpServer } from "node:http";
import * as context from "./context.ts";
import { ofNodeHeaders } from "./request.ts";

type Emitter = EventEmitter & { listen?: unknown };
type Init = (this: Emitter, options: unknown) => void;

/**
 * Importing node:http just to change it would cost each worker 20 ms. But its servers are event emitters, and these are
 * cheap to watch: the first HTTP server among them shows that node:http has been imported. `onListening` is called when
 * a server listens on `socket`.
 */
export function install(socket: string, onListening: () => void): void {
  const emitters = EventEmitter as unknown as { init: Init };
  const { init } = emitters;
  emitters.init = function (options) {
    // A server of node:net, or an application object such as Koa's, can listen too: it does not end the watch.
    if (typeof this.listen === "function" && this instanceof httpServer()) {
      emitters.init = init;
      redirect(ownerOf(this, "listen") as HttpServer, socket, onListening);
    }
    init.call(this, options);
  };
}

function httpServer(): typeof HttpServer {
  return process.getBuiltinModule("node:http").Server;
}

function ownerOf(object: object, name: string): object {
  let owner = object;
  while (!Object.hasOwn(owner, name)) owner = Object.getPrototypeOf(owner);
  return owner;
}

/** `prototype`: of the class that has `listen`, which may be that of node:net. */
function redirect(prototype: HttpServer, socket: string, onListening: () => void): void {
  const listen = prototype.listen as (...args: unknown[]) => HttpServer;

  prototype.listen = function (this: HttpServer, ...args: unknown[]): HttpServer {
    if (!(this instanceof httpServer())) return listen.apply(this, args);
    enterContexts(this);
    const callback = args.find((arg) => typeof arg === "function");
    this.address = () => addressAskedFor(args);
    this.once("listening", onListening);
    return listen.call(this, { path: socket }, callback);
  } as HttpServer["listen"];
}

/** Has each request's listeners run in its context, and see the client's address. */
function enterContexts(server: HttpServer): void {
  const emit = server.emit as (event: string, ...args: unknown[]) => boolean;
  server.emit = function (this: HttpServer, event: string, ...args: unknown[]): boolean {
    const call = () => emit.call(this, event, ...args);
    const request = args[0] as { headers?: Record<string, unknown>; socket?: object } | undefined;
    if (!request?.headers || !request.socket) return call();
    const { id, peer } = ofNodeHeaders(request.headers);
    defineValue(request.socket, "remoteAddress", peer.hostname);
    defineValue(request.socket, "remotePort", peer.port);
    defineValue(request.socket, "remoteFamily", peer.hostname.includes(":") ? "IPv6" : "IPv4");
    return context.run(id, call);
  } as HttpServer["emit"];
}

/** Configurable, because one connection carries the requests of many clients, and each one redefines it. */
function defineValue(target: object, name: string, value: unknown): void {
  Object.defineProperty(target, name, { value, configurable: true, writable: true });
}

/** The address in the arguments `(port, host?)`, `({ port, host })` or `()` of `listen`. */
function addressAskedFor(args: unknown[]): { address: string; family: string; port: number } {
  const options = (typeof args[0] === "object" && args[0] !== null ? args[0] : {}) as Record<string, unknown>;
  const host = options.host ?? (typeof args[1] === "string" ? args[1] : undefined);
  const address = typeof host === "string" ? host : "0.0.0.0";
  return {
    address,
    family: address.includes(":") ? "IPv6" : "IPv4",
    port: Number(options.port ?? args[0]) || 0,
  };
}

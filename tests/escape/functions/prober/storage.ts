/** What Deno itself keeps on disk for a program, in its own folder and without a look at the permissions; databases. */

import { DatabaseSync } from "node:sqlite";
import { own, type Probes } from "./attempt.ts";

export const probes: Probes = {
  "keep-in-cache": async () => {
    await (await caches.open("escaped")).put("http://escaped/", new Response("yes"));
    await caches.delete("escaped");
    return "kept";
  },
  "keep-in-key-value-store": async () => {
    using store = await Deno.openKv();
    await store.delete(["escaped"]);
    return "kept";
  },
  "make-key-value-store-outside": async ({ hideout }) => {
    (await Deno.openKv(`${hideout}/${crypto.randomUUID()}.sqlite`)).close();
    return "made";
  },
  "make-database-outside": ({ hideout }) => {
    const database = new DatabaseSync(`${hideout}/${crypto.randomUUID()}.sqlite`);
    database.exec("create table escaped (id integer)");
    database.close();
    return "made";
  },
  "attach-database-outside": ({ hideout }) => {
    const database = new DatabaseSync(own("own.sqlite"));
    try {
      database.exec(`attach database '${hideout}/${crypto.randomUUID()}.sqlite' as other`);
      database.exec("create table other.escaped (id integer)");
    } finally {
      database.close();
    }
    return "attached";
  },
  "copy-database-outside": ({ hideout }) => {
    const database = new DatabaseSync(":memory:");
    try {
      database.exec("create table escaped (id integer)");
      database.exec(`vacuum into '${hideout}/${crypto.randomUUID()}.sqlite'`);
    } finally {
      database.close();
    }
    return "copied";
  },
  "load-extension-of-database": () => {
    const database = new DatabaseSync(":memory:", { allowExtension: true });
    database.close();
    return "would load";
  },
};

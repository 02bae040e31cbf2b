using Workerd = import "/workerd/workerd.capnp";

const later :Workerd.Config = (
  services = [(name = "bench", worker = .code)],
  sockets = [(name = "http", http = (), service = (name = "bench", entrypoint = "later"))]
);

const burning :Workerd.Config = (
  services = [(name = "bench", worker = .code)],
  sockets = [(name = "http", http = (), service = (name = "bench", entrypoint = "burning"))]
);

const code :Workerd.Worker = (
  modules = [(name = "workerd.js", esModule = embed "workerd.js")],
  compatibilityDate = "2026-11-01"
);

"""The unix sockets in a worker's folder. The guest of TypeScript functions has these names, too."""

CONTROL = "control.sock"
"""The node listens on it, for the worker's one connection."""
HTTP = "http.sock"
"""Every worker listens on it before it is told to evaluate the function's code."""
NODE_HTTP = "node.sock"
"""For servers of node:http."""

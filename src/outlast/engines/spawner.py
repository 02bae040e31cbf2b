"""The process that starts worker processes: small, single-threaded, without an event loop, so that forking it is
cheap and safe.

The node starts it once, as a script of its own (nothing of ``outlast`` is imported here) with a stream socket as its
standard input, and asks over that for processes. A message is one JSON object a line:

    node:     {"spawn": N, "argv": [...], "env": {...}, "cwd": "..."}, with three descriptors: stdout, stderr, lifeline
              {"kill": PID}
    spawner:  {"spawned": N, "pid": PID}    {"failed": N, "error": "..."}
              {"exited": PID, "status": WAIT-STATUS, "cpu_ms": N, "max_rss": N}

The lifeline is the read end of a pipe whose write end the node alone holds. When the node is gone, however that came,
the kernel signals every worker with SIGKILL (fcntl(2): F_SETSIG). Where the kernel has no F_SETSIG (macOS), a worker
notices that its control channel has closed.
"""

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import sys

LIFELINE_FD = 3


def main() -> None:
    with contextlib.suppress(OSError):
        os.setsid()
    node = socket.socket(fileno=0)
    wakeup_r, wakeup_w = os.pipe()
    os.set_blocking(wakeup_w, False)
    os.set_blocking(wakeup_r, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakeup_w, warn_on_full_buffer=False)
    children: set[int] = set()
    pending = b""
    descriptors: list[int] = []
    while True:
        readable, _, _ = select.select([node.fileno(), wakeup_r], [], [])
        if wakeup_r in readable:
            with contextlib.suppress(BlockingIOError):
                os.read(wakeup_r, 4096)
            _reap(node, children)
        if node.fileno() in readable:
            data, received, _, _ = socket.recv_fds(node, 1 << 20, 64)
            if not data:
                return
            descriptors += received
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                request = json.loads(line)
                if "spawn" in request:
                    mine, descriptors = descriptors[:3], descriptors[3:]
                    _spawn(node, children, request, mine)
                elif request["kill"] in children:
                    # The worker leads a process group of its own: whatever it started ends with it.
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(request["kill"], signal.SIGKILL)


def _say(node: socket.socket, message: dict[str, object]) -> None:
    with contextlib.suppress(BrokenPipeError):
        node.sendall(json.dumps(message).encode() + b"\n")


def _reap(node: socket.socket, children: set[int]) -> None:
    while children:
        pid, status, usage = os.wait4(-1, os.WNOHANG)
        if pid == 0:
            return
        children.discard(pid)
        cpu_ms = round((usage.ru_utime + usage.ru_stime) * 1000)
        _say(node, {"exited": pid, "status": status, "cpu_ms": cpu_ms, "max_rss": usage.ru_maxrss})


def _spawn(node: socket.socket, children: set[int], request: dict[str, object], descriptors: list[int]) -> None:
    try:
        pid = os.fork()
    except OSError as error:
        _say(node, {"failed": request["spawn"], "error": str(error)})
    else:
        if pid == 0:
            _become(request, descriptors)
        children.add(pid)
        with contextlib.suppress(OSError):
            # Both sides do it, so that it holds whichever runs first: a kill right away must find the group.
            os.setpgid(pid, pid)
        _say(node, {"spawned": request["spawn"], "pid": pid})
    for descriptor in descriptors:
        os.close(descriptor)


def _become(request: dict[str, object], descriptors: list[int]) -> None:
    """Turns this child into the worker. Never returns."""
    try:
        with contextlib.suppress(OSError):
            os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGPIPE, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        stdout, stderr, lifeline = (os.dup2(fd, 100 + i, inheritable=False) for i, fd in enumerate(descriptors))
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (stdout, 1), (stderr, 2), (lifeline, LIFELINE_FD)):
            os.dup2(source, target, inheritable=True)
        os.closerange(LIFELINE_FD + 1, 256)
        _hold_on_to_life()
        os.chdir(str(request["cwd"]))
        argv, env = request["argv"], request["env"]
        assert isinstance(argv, list) and isinstance(env, dict)
        os.execve(argv[0], argv, env)  # noqa: S606
    except BaseException as error:
        os.write(2, f"the worker could not be started: {error}\n".encode())
    finally:
        os._exit(127)


def _hold_on_to_life() -> None:
    if hasattr(fcntl, "F_SETSIG"):
        fcntl.fcntl(LIFELINE_FD, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(LIFELINE_FD, fcntl.F_SETOWN, os.getpid())
        flags = fcntl.fcntl(LIFELINE_FD, fcntl.F_GETFL)
        fcntl.fcntl(LIFELINE_FD, fcntl.F_SETFL, flags | os.O_ASYNC)
    poll = select.poll()
    poll.register(LIFELINE_FD, 0)
    if poll.poll(0):
        sys.exit("the node is gone")


if __name__ == "__main__":
    main()

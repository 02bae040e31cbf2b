"""The process that starts worker processes: small, single-threaded, without an event loop, so that forking it is
cheap and safe.

The node starts it as a script (it imports nothing of ``outlast`` but the sandbox and `spare`) with a stream socket as
its standard input, over which it asks for processes. Messages are JSON objects, one a line:

    node:     {"spawn": N, "argv": [...], "env": {...}, "cwd": "...", "walls": {...} or null, "keeps": true or false},
              with three descriptors, stdout, stderr and lifeline, and a fourth where it keeps something: the memory for
              that (`outlast.wire.kept`)
              {"kill": PID}
    spawner:  {"hello": {...}}, once, before all else
              {"spawned": N, "pid": PID}    {"failed": N, "error": "..."}
              {"exited": PID, "status": WAIT-STATUS, "cpu_ms": N, "max_rss": N}

The lifeline is the read end of a pipe of which only the node has the write end. When the node is gone, for whatever
reason, the kernel ends every worker, with everything it has started, by SIGKILL (fcntl(2): F_SETSIG). Where the kernel
has no F_SETSIG (macOS), a worker notices that its control channel has closed.

The zygote of the Python engine is this program with another end, what its children do instead of ``execute``, and with
one of them made ahead, the spare.
"""

import contextlib
import fcntl
import json
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

if __name__ == "__main__":
    # After all else: this is a folder of packages, whose names may be those of standard modules.
    sys.path.append(os.path.abspath(f"{__file__}/../../.."))  # noqa: PTH100, pathlib takes longer than all the rest

from outlast.engines.spare import HIGHEST_FD, MAX_RECEIVED_FDS, Order, Spare, lead_a_group
from outlast.sandbox.confine import ConfineError, confine, get_ready
from outlast.sandbox.walls import Walls

LIFELINE_FD = 3
KEPT_FD = 4
OOM_SCORE_ADJ = 500
"""To the kernel, a worker is as large as if it had half of the machine's memory besides its own."""
SPARE_AFTER_S = 0.03
"""Of nothing to do: the making of a spare is not to hold up a worker that has just been made."""


def serve(hello: Mapping[str, object], rehearse: Callable[[], None] | None = None) -> dict[str, Any] | None:
    """Starts processes for the node until the node is gone, and then returns None.

    It also returns in every process that it starts, with the request: that process is a worker now. It has its standard
    streams, lifeline and folder, and nothing else of this process open. A worker that cannot be set up ends with exit
    code 127.

    Args:
        hello: what to tell the node of this process.
        rehearse: what a spare does before it is needed; None: there is to be none.
    """
    node = socket.socket(fileno=0)
    wakeup_r, wakeup_w = os.pipe()
    os.set_blocking(wakeup_w, False)
    os.set_blocking(wakeup_r, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakeup_w, warn_on_full_buffer=False)
    family = _Family(node, rehearse)
    pending = b""
    descriptors: list[int] = []
    get_ready()
    _say(node, {"hello": hello})
    while True:
        readable, _, _ = select.select(
            [node.fileno(), wakeup_r], [], [], SPARE_AFTER_S if family.spare_is_due else None
        )
        if not readable and (order := family.make_spare()) is not None:
            return _become(node, json.loads(order.request), order.descriptors)
        if wakeup_r in readable:
            with contextlib.suppress(BlockingIOError):
                os.read(wakeup_r, 4096)
            family.reap()
        if node.fileno() in readable:
            data, received = _receive(node)
            if not data:
                family.end()
                return None
            descriptors += received
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                request: dict[str, Any] = json.loads(line)
                if "spawn" in request:
                    count = 3 + request["keeps"]
                    mine, descriptors = descriptors[:count], descriptors[count:]
                    if family.add(request, line, mine):
                        return _become(node, request, mine)
                else:
                    family.kill(request["kill"])


def wall_in(request: Mapping[str, Any]) -> None:
    """Confines this worker as the request says. Does not return if that fails."""
    if request["walls"] is not None:
        try:
            confine(Walls(**request["walls"]))
        except ConfineError as error:
            fail(error)


def fail(error: BaseException) -> NoReturn:
    os.write(2, f"the worker could not be started: {error}\n".encode())
    os._exit(127)


def execute(request: Mapping[str, Any]) -> NoReturn:
    """Replaces this process with the program that was asked for."""
    # Python ignores these signals, and the program would inherit that.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execve(request["argv"][0], request["argv"], request["env"])  # noqa: S606
    except Exception as error:
        fail(error)


def _receive(node: socket.socket) -> tuple[bytes, list[int]]:
    try:
        data, received, _, _ = socket.recv_fds(node, 1 << 20, MAX_RECEIVED_FDS)
    except ConnectionError:
        # The node died with something unread.
        return b"", []
    return data, received


def _say(node: socket.socket, message: Mapping[str, object]) -> None:
    with contextlib.suppress(ConnectionError):
        node.sendall(json.dumps(message).encode() + b"\n")


def _wait() -> tuple[int, int, resource.struct_rusage] | None:
    """Waits for a worker that has ended, if there is one, and kills what it has left running."""
    if not hasattr(os, "waitid"):
        # macOS, before Python 3.13.
        pid, status, usage = os.wait4(-1, os.WNOHANG)
        if pid:
            _end_group(pid)
        return (pid, status, usage) if pid else None
    ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if ended is None:
        return None
    # Before it is waited for: after that its number may be another process's.
    _end_group(ended.si_pid)
    return os.wait4(ended.si_pid, 0)


def _end_group(pid: int) -> None:
    """Kills a worker's process group, which contains whatever it started, unless that took care to leave it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


class _Family:
    """The processes that this one has started and not seen the end of."""

    def __init__(self, node: socket.socket, rehearse: Callable[[], None] | None) -> None:
        self._node = node
        self._rehearse = rehearse
        self._workers: set[int] = set()
        self._spare: Spare | None = None
        self.spare_is_due = rehearse is not None
        """As soon as there is nothing else to do. Once for each worker: where spares die, no more are made."""

    def add(self, request: Mapping[str, Any], line: bytes, descriptors: list[int]) -> bool:
        """Starts a worker. Returns whether this is the worker.

        Args:
            line: that of the request.
        """
        spare, self.spare_is_due = self._spare, self._rehearse is not None
        if spare is not None and spare.take(line + b"\n", descriptors):
            self._spare = None
            self._added(spare.pid, request)
        else:
            try:
                pid = os.fork()
            except OSError as error:
                _say(self._node, {"failed": request["spawn"], "error": str(error)})
            else:
                if pid == 0:
                    if spare is not None:
                        spare.forget()
                    return True
                lead_a_group(pid)
                self._added(pid, request)
        for descriptor in descriptors:
            os.close(descriptor)
        return False

    def _added(self, pid: int, request: Mapping[str, Any]) -> None:
        self._workers.add(pid)
        _say(self._node, {"spawned": request["spawn"], "pid": pid})

    def make_spare(self) -> Order | None:
        """Returns once more, in the spare, with its order."""
        self.spare_is_due = False
        if self._spare is None and self._rehearse is not None:
            with contextlib.suppress(OSError):
                made = Spare.make(self._rehearse)
                if isinstance(made, Order):
                    return made
                self._spare = made
        return None

    def reap(self) -> None:
        while (self._workers or self._spare is not None) and (ended := _wait()) is not None:
            pid, status, usage = ended
            if pid in self._workers:
                self._workers.discard(pid)
                cpu_ms = round((usage.ru_utime + usage.ru_stime) * 1000)
                _say(self._node, {"exited": pid, "status": status, "cpu_ms": cpu_ms, "max_rss": usage.ru_maxrss})
            elif self._spare is not None and pid == self._spare.pid:
                self._spare.close()
                self._spare = None

    def kill(self, pid: int) -> None:
        if pid in self._workers:
            _end_group(pid)

    def end(self) -> None:
        # Their lifelines have ended them, but for one that has closed its own.
        for pid in self._workers:
            _end_group(pid)
        if self._spare is not None:
            _end_group(self._spare.pid)


def _become(node: socket.socket, request: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
    """This is a new worker."""
    # Its number means the worker's own standard input from here on.
    node.detach()
    _settle(request, descriptors)
    return request


def _settle(request: Mapping[str, Any], descriptors: list[int]) -> None:
    """Gives this child what it should have, and takes everything else away. Does not return if that fails."""
    try:
        lead_a_group(0)
        signal.set_wakeup_fd(-1)
        # Some are caught here, and some ignored where the node was started with nohup(1) or in the background.
        for number in (signal.SIGCHLD, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        # First out of the way: each may have a number that another one is about to get.
        given = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, KEPT_FD + 1) for fd in descriptors]
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0, inheritable=True)
        for target, source in enumerate(given, start=1):
            os.dup2(source, target, inheritable=True)
        os.closerange(len(given) + 1, HIGHEST_FD)
        _hold_on_to_life()
        _go_before_the_node()
        os.chdir(request["cwd"])
    except BaseException as error:
        fail(error)


def _hold_on_to_life() -> None:
    if hasattr(fcntl, "F_SETSIG"):
        fcntl.fcntl(LIFELINE_FD, fcntl.F_SETSIG, signal.SIGKILL)
        # Negative: the whole process group, so that what the worker started goes too.
        fcntl.fcntl(LIFELINE_FD, fcntl.F_SETOWN, -os.getpid())
        flags = fcntl.fcntl(LIFELINE_FD, fcntl.F_GETFL)
        fcntl.fcntl(LIFELINE_FD, fcntl.F_SETFL, flags | os.O_ASYNC)
    poll = select.poll()
    poll.register(LIFELINE_FD, 0)
    if poll.poll(0):
        sys.exit("the node is gone")


def _go_before_the_node() -> None:
    """If the machine runs out of memory, the kernel ends a worker, not the node or its database (proc(5))."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "r+") as score:  # noqa: PTH123, see above
        score.write(str(min(int(score.read()) + OOM_SCORE_ADJ, 1000)))


def main() -> None:
    request = serve({})
    if request is not None:
        wall_in(request)
        execute(request)


if __name__ == "__main__":
    main()

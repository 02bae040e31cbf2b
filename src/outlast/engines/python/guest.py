"""Runs inside the worker process of a Python function: connects to the node, listens, and waits to be told."""

import asyncio
import atexit
import contextlib
import contextvars
import functools
import gc
import mmap
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from outlast.core.outcome import UnloadReason
from outlast.engines.python import calls, forgotten, gate, loading, pools, rehearsal
from outlast.engines.python.control import Channel
from outlast.engines.python.lane import Connection as LaneConnection
from outlast.engines.python.lane import Lane
from outlast.engines.python.lifespan import Lifespan, StartupFailed
from outlast.engines.python.output import Output
from outlast.engines.python.pulse import Pulse
from outlast.engines.python.server import Connection
from outlast.engines.spawner import KEPT_FD
from outlast.runtime import memory, reports
from outlast.runtime.describe import describe
from outlast.runtime.dispatching import dispatch, dispatch_error, dispatch_rejection, settled, tasks
from outlast.runtime.events import BeforeUnloadEvent, Event, UnloadDetail
from outlast.runtime.serving import HandlerApp, serving
from outlast.runtime.tasks import AnyFuture
from outlast.wire import kept, messages, sockets

if TYPE_CHECKING:
    from outlast.engines.python.websockets import WebSockets

try:
    import uvloop
except ImportError:
    # An interpreter or environment of the function's own may lack it.
    uvloop = None  # type: ignore[assignment]

REHEARSES_AFTER_S = 0.005
"""After connecting. A worker that is needed at once is told before that."""
TURNS_TO_SETTLE = 16
"""Of the event loop. A task that waits for nothing takes a few turns to finish, and must not be cut off meanwhile."""


def main(folder: str, seal: Callable[[], None], *, keeps: bool) -> NoReturn:
    """Turns this process, which must be single-threaded and without an event loop, into a worker. Never returns.

    ``folder`` contains ``control.sock``, on which the node listens; ``http.sock`` is created there. ``seal`` is called
    when both are open, before any code of the function runs: no other sockets will be needed. ``keeps``: whether this
    process was given the memory of `outlast.wire.kept`.
    """
    loop: asyncio.AbstractEventLoop = (uvloop or asyncio).new_event_loop()
    asyncio.set_event_loop(loop)
    guest = Guest(Path(folder), loop, _kept_memory() if keeps else None)
    try:
        loop.run_until_complete(guest.listen(seal))
        guest.live()
    except BaseException as error:
        reports.send(messages.Uncaught(describe(error)))
    guest.end(1)


class Guest:
    def __init__(self, folder: Path, loop: asyncio.AbstractEventLoop, memory: mmap.mmap | None) -> None:
        self._folder = folder
        self._loop = loop
        self._end_process = os._exit
        self._told: dict[UnloadReason, set[AnyFuture]] = {}
        """The reasons for which `beforeunload` was dispatched, and what of the listeners' work goes on."""
        self._interrupts = False
        """Whether the present code has interrupted other code, so that the event loop may be blocked."""
        self._outside = contextvars.copy_context()
        """A context that belongs to no request."""
        self._said_stuck = False
        self._work: set[asyncio.Task[None]] = set()
        self._lifespan: Lifespan | None = None
        self._servers: list[asyncio.AbstractServer] = []
        self._rehearsing: asyncio.TimerHandle | None = None
        self._channel = Channel(loop, str(folder / sockets.CONTROL), self._obey, self._on_lost, memory)
        reports.connect(self._channel.send, self._channel.flush)
        self._output = Output(self._on_thread_error)
        self._output.install()
        # A listener that interrupts the sending of messages could send none itself for as long as it runs; one that
        # interrupts the end would delay it.
        undisturbed = {Channel.proceed.__code__, Guest.end.__code__}
        self._pulse = Pulse(loop, self._is_busy, self._on_stuck, self._on_moving, self._hear, undisturbed)
        self._gate = gate.Gate(self._pulse.quicken, self._output.end_request, self._exit)
        calls.install()
        pools.install()
        serving.inside_worker = True
        serving.on_app = self._use
        loop.set_exception_handler(self._on_loop_error)
        os._exit = self.end
        os.register_at_fork(after_in_child=self._become_stranger)

    async def listen(self, seal: Callable[[], None]) -> None:
        def connection() -> Connection:
            return Connection(self._loop, self._gate.serve, lambda *asked: self._websockets.take_over(*asked))

        async def serve(protocol: Callable[[], asyncio.Protocol], socket: str) -> asyncio.AbstractServer:
            return await self._loop.create_unix_server(protocol, str(self._folder / socket), backlog=1024)

        on_lanes: dict[int, LaneConnection] = {}
        self._servers = [
            await serve(connection, sockets.HTTP),
            await serve(lambda: Lane(on_lanes, connection), sockets.LANE),
        ]
        seal()
        self._rehearsing = self._loop.call_later(REHEARSES_AFTER_S, lambda: self._do(self._rehearse()))
        # Not before: what the node says can have the function's code run at once.
        self._channel.listen()

    def live(self) -> None:
        try:
            self._loop.run_forever()
        except SystemExit as exit_:
            # What listens to `unload` may use the loop, so that must be running.
            self._loop.call_soon(self._exit, exit_)
            self.live()

    def end(self, status: int) -> NoReturn:
        """Ends the process at once, whatever happens, without losing what it has said."""
        try:
            self._output.finish()
        finally:
            try:
                self._channel.finish()
            finally:
                self._end_process(status)

    @functools.cached_property
    def _websockets(self) -> "WebSockets":
        # Few functions use them; the others need not wait for uvicorn to be loaded.
        from outlast.engines.python.websockets import WebSockets

        return WebSockets(self._gate, self._loop)

    # What the node says.

    def _obey(self, message: messages.ToWorker) -> None:
        self._pulse.quicken()
        match message:
            case messages.Boot():
                if self._rehearsing is not None:
                    self._rehearsing.cancel()
                self._do(self._boot(loading.path_of(message.entrypoint)))
            case messages.BeforeUnload():
                self._unloading(message)
            case messages.Exit():
                self._do(self._leave())
            case messages.Abandoned():
                # Not now: this may interrupt the gate's own code.
                self._loop.call_soon(self._gate.lost, message.request)
            case messages.Ping(no_clients=True):
                self._do(self._answer(message))
            case messages.Ping():
                self._channel.send(messages.Pong(message.number))

    def _do(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _answer(self, ping: messages.Ping) -> None:
        """When what still runs has become a task: a worker without any may be ended after this."""
        self._gate.lost_all()
        for _ in range(gate.TURNS_TO_ARRIVE + 2 * calls.TURNS_TO_RETURN):
            await asyncio.sleep(0)
        self._channel.send(messages.Pong(ping.number))

    async def _rehearse(self) -> None:
        with contextlib.suppress(OSError):
            await rehearsal.rehearse()

    async def _boot(self, path: Path) -> None:
        tasks.attach(self._loop)
        try:
            module = loading.load(path)
        except BaseException as error:
            self._fail(loading.why_it_broke_off(path, error))
        # What is loaded stays, and is not worth a look at each garbage collection.
        gc.freeze()
        dispatch(Event("load"))
        app = serving.app or getattr(module, "app", None)
        if app is None and len(tasks):
            reports.log(
                "warning", f"{'/'.join(path.parts[-2:])} was evaluated, but serves nothing yet: call serve(handler)"
            )
            return
        if not isinstance(app, HandlerApp) and (problem := loading.why_it_cannot_serve(path, module, app)):
            self._fail(problem)
        assert app is not None
        await self._serve(app)

    def _use(self, app: Any) -> None:
        """`serve` was called. While the module is still being evaluated, this waits for its end."""
        if self._gate.app is not None:
            self._gate.app = app
        elif not self._is_booting():
            self._do(self._serve(app))

    def _is_booting(self) -> bool:
        return asyncio.current_task(self._loop) in self._work

    async def _serve(self, app: Any) -> None:
        if not isinstance(app, HandlerApp):
            self._lifespan = Lifespan(app)
            try:
                await self._lifespan.startup()
            except StartupFailed as error:
                self._fail(str(error))
            self._gate.state = self._lifespan.state
        self._gate.app = app
        reports.send(messages.Ready())

    def _fail(self, error: str) -> NoReturn:
        self._output.finish()
        reports.send(messages.BootFailed(error))
        self.end(1)

    def _unloading(self, message: messages.BeforeUnload) -> None:
        reason = message.reason
        if reason not in self._told:
            self._told[reason] = set()
            self._told[reason] = dispatch(BeforeUnloadEvent("beforeunload", UnloadDetail(reason.value)))
        started = self._told[reason]

        async def wait() -> None:
            await settled(started)
            reports.send(messages.Unloaded(reason))

        if self._interrupts and not started:
            # The loop may have no turns to give.
            reports.send(messages.Unloaded(reason))
        else:
            self._do(wait())

    async def _leave(self) -> None:
        for _ in range(TURNS_TO_SETTLE):
            await asyncio.sleep(0)
        if self._lifespan is not None and (problem := await self._lifespan.shutdown()):
            reports.log("error", problem)
        await settled(dispatch(Event("unload")))
        # The node names the requests and tasks that are cut off, and these wait for some of asyncio's tasks themselves.
        if not self._is_busy() and (left := forgotten.names()):
            reports.log(
                "warning",
                f"the worker ends in the middle of {', '.join(left)}: it does not wait for asyncio's own tasks, or for "
                "threads. EdgeRuntime.wait_until(...) has it wait; lifespan, beforeunload or unload can end what has "
                "no end",
            )
        atexit._run_exitfuncs()
        self.end(0)

    # What happens in this process.

    def _is_busy(self) -> bool:
        return self._gate.is_busy or len(tasks) > 0

    def _on_stuck(self) -> None:
        if not self._said_stuck:
            self._said_stuck = True
            self._channel.send(messages.Loop(stuck=True))
        self._channel.flush()

    def _hear(self) -> None:
        """Called by a signal handler, in the middle of other code."""
        interrupts, self._interrupts = self._interrupts, True
        try:
            self._channel.flush()
            self._outside.copy().run(self._channel.receive)
            self._channel.flush()
        finally:
            self._interrupts = interrupts
        # If it was waiting, it does not know of what was begun just now.
        self._loop.call_soon_threadsafe(lambda: None)

    def _on_moving(self) -> None:
        self._said_stuck = False
        self._channel.send(messages.Loop(stuck=False))

    def _on_lost(self) -> None:
        """The node is gone: nobody is left to report to."""
        self._end_process(1)

    def _exit(self, exit_: SystemExit) -> NoReturn:
        """`sys.exit`, wherever the function has called it."""
        try:
            dispatch(Event("unload"))
            atexit._run_exitfuncs()
        finally:
            self.end(exit_code(exit_))

    def _on_thread_error(self, error: BaseException) -> None:
        self._loop.call_soon_threadsafe(dispatch_error, error, context=contextvars.copy_context())

    def _on_loop_error(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, SystemExit):
            # It was raised in a pool, and nobody has asked what became of that. Any thread may have noticed.
            self._loop.call_soon_threadsafe(self._exit, error)
            return
        if error is not None:
            memory.make_room(error)
        promise = context.get("future") or context.get("task")
        if error is None:
            text = context.get("message", "")
            if "was destroyed but it is pending" in text:
                text = f"{text} {promise!r}: nothing refers to it; EdgeRuntime.wait_until keeps a task alive"
            reports.log("warning", text)
        elif promise is not None:
            _context_of(promise).run(dispatch_rejection, promise, error, uncaught=True)
        else:
            dispatch_error(error)

    def _become_stranger(self) -> None:
        """Called in a child process that the function has forked: channel and output belong to the parent."""
        self._channel.abandon()
        self._output.uninstall()
        os._exit = self._end_process


def _context_of(promise: asyncio.Future[Any]) -> contextvars.Context:
    """A copy of the context that a task ran in: asyncio reports unretrieved exceptions in whatever context it is.

    For a future, which has no context, a copy of the present one.
    """
    if hasattr(promise, "get_context"):
        context: contextvars.Context = promise.get_context()
        return context.copy()
    # Before Python 3.12, tasks do not say.
    contexts = (held for held in gc.get_referents(promise) if isinstance(held, contextvars.Context))
    found = next(contexts, None)
    return contextvars.copy_context() if found is None else found.copy()


def _kept_memory() -> mmap.mmap:
    memory = mmap.mmap(KEPT_FD, kept.SIZE)
    # Processes that the function starts must not inherit it.
    os.close(KEPT_FD)
    return memory


def exit_code(exit_: SystemExit) -> int:
    """The exit code, as Python itself has it: a text is an error message."""
    if exit_.code is None or isinstance(exit_.code, int):
        return exit_.code or 0
    sys.stderr.write(f"{exit_.code}\n")
    return 1

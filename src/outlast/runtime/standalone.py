"""A plain server for a function that is run by itself: `python main.py`."""

import asyncio
import concurrent.futures.thread  # noqa: F401, see below
import contextlib
import logging
import sys
import threading

from starlette.types import ASGIApp, Receive, Scope, Send

from outlast.runtime.dispatching import dispatch, tasks
from outlast.runtime.events import Event

_chosen: tuple[ASGIApp, str, int] | None = None


def serve_when_module_ends(app: ASGIApp, host: str, port: int) -> None:
    """Starts the server after the module's last line, because what it defines after `serve` must exist by then.

    It runs when the main thread ends, but early enough for threads to be started: callbacks registered last run first,
    and `concurrent.futures`, whose own callback ends its threads, was imported before.
    """
    global _chosen
    if _chosen is None:
        threading._register_atexit(_run)  # type: ignore[attr-defined]
    _chosen = (app, host, port)


def _run() -> None:
    if _chosen is None or hasattr(sys, "last_value") or sys.flags.interactive:
        # The module failed, or an interactive session has ended.
        return
    import uvicorn

    app, host, port = _chosen
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    if (3, 12) <= sys.version_info < (3, 12, 3):
        # https://github.com/python/cpython/issues/113964
        logging.warning("asyncio.to_thread and the like fail here in Python 3.12.0 to 3.12.2: use 3.12.3 or later")
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.run(_Started(app), host=host, port=port, lifespan="on")


class _Started:
    """Starts, in the server's loop, the tasks that the module's top level asked for."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await self._app(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        tasks.attach(asyncio.get_running_loop())
        dispatch(Event("load"))
        await send({"type": "lifespan.startup.complete"})
        await receive()
        dispatch(Event("unload"))
        await send({"type": "lifespan.shutdown.complete"})

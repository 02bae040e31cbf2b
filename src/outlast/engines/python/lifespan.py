"""The lifespan of an ASGI application (ASGI specification, "Lifespan Protocol")."""

import asyncio
from typing import Any

from starlette.types import ASGIApp, Message

from outlast.core.errors import OutlastError


class StartupFailed(OutlastError):
    """The application said that it cannot start."""


class Lifespan:
    def __init__(self, app: ASGIApp) -> None:
        self.state: dict[str, Any] = {}
        """Each request gets a copy."""
        self._app = app
        self._task: asyncio.Task[None] | None = None
        self._to_app: asyncio.Queue[Message] = asyncio.Queue()
        self._from_app: asyncio.Queue[Message] = asyncio.Queue()

    async def startup(self) -> None:
        """Raises `StartupFailed`. An application that knows no lifespan has none."""
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        self._task = asyncio.create_task(self._run(scope))
        answer = await self._say("lifespan.startup")
        if answer is not None and answer["type"] == "lifespan.startup.failed":
            raise StartupFailed(answer.get("message") or "the application failed to start")

    async def shutdown(self) -> str | None:
        """Returns what went wrong, or None."""
        answer = await self._say("lifespan.shutdown")
        if answer is not None and answer["type"] == "lifespan.shutdown.failed":
            return answer.get("message") or "the application failed to shut down"
        return None

    async def _run(self, scope: dict[str, Any]) -> None:
        try:
            await self._app(scope, self._to_app.get, self._from_app.put)
        except Exception:
            # How an application says that it knows no lifespan: there is no other way.
            return

    async def _say(self, what: str) -> Message | None:
        """The answer, or None from an application that has left its lifespan."""
        if self._task is None or self._task.done():
            return None
        self._to_app.put_nowait({"type": what})
        answer = asyncio.ensure_future(self._from_app.get())
        await asyncio.wait({answer, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done() and not self._from_app.empty():
            await answer
        if answer.done():
            return answer.result()
        answer.cancel()
        return None

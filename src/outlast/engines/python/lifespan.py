"""The lifespan of an ASGI application (ASGI specification, "Lifespan Protocol")."""

import asyncio
from typing import Any

from starlette.types import ASGIApp, Message

from outlast.core.errors import OutlastError
from outlast.runtime.describe import describe
from outlast.runtime.dispatching import dispatch_error


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
        self._is_up = False
        self._is_broken = False
        """Whether its error has been reported."""
        self._refusal: Exception | None = None
        """What it has raised before it was up."""

    async def startup(self) -> None:
        """Raises `StartupFailed`. Does nothing for an application without lifespan support."""
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        self._task = asyncio.create_task(self._run(scope))
        answer = await self._say("lifespan.startup")
        if answer is not None and answer["type"] == "lifespan.startup.failed":
            said = answer.get("message") if self._refusal is None else describe(self._refusal)
            raise StartupFailed(said or "the application failed to start")

    async def shutdown(self) -> str | None:
        """Returns what went wrong, or None if that is known."""
        answer = await self._say("lifespan.shutdown")
        if answer is not None and answer["type"] == "lifespan.shutdown.failed" and not self._is_broken:
            return answer.get("message") or "the application failed to shut down"
        return None

    async def _run(self, scope: dict[str, Any]) -> None:
        try:
            await self._app(scope, self._to_app.get, self._hear)
        except Exception as error:
            # Before it is up, raising is how an application says that it does not support lifespan.
            if self._is_up:
                self._is_broken = True
                dispatch_error(error)
            else:
                self._refusal = error

    async def _hear(self, message: Message) -> None:
        self._is_up = self._is_up or message["type"] == "lifespan.startup.complete"
        self._from_app.put_nowait(message)

    async def _say(self, what: str) -> Message | None:
        """Sends an event. Returns the answer, or None if the application's lifespan call has ended."""
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

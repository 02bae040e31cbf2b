"""Live events: the log as server-sent events.

Each message is one event, in JSON as in the log. After a lost connection, a client sends the last id as
``Last-Event-ID`` and first gets what has been kept of the time between. A message of the type ``missed`` says how many
events the client was too slow for.
"""

from collections.abc import AsyncIterator
from contextlib import aclosing

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from outlast.admin import questions
from outlast.admin.node import Node
from outlast.telemetry.feed import KEPT_EVENTS, Event, Listener, as_json

MEDIA_TYPE = "text/event-stream"
SILENCE_S = 15.0
"""After this long a comment is sent, so that no proxy takes the connection for dead."""


async def live(node: Node, request: Request, question: questions.LiveEvents) -> Response:
    if request.method == "HEAD":
        return Response(media_type=MEDIA_TYPE)
    wanted = question.wanted()
    # Before anything is sent: a client that has the response's head misses nothing from then on.
    listener = node.log.feed.listen(wanted)
    last = request.headers.get("last-event-id", "")
    if last.isascii() and last.isdigit():
        begin = [event for event in node.log.feed.recent(wanted, KEPT_EVENTS) if event.number > int(last)]
    else:
        begin = node.log.feed.recent(wanted, question.recent)
    return _Stream(listener, begin)


class _Stream(StreamingResponse):
    """Closes its listener, however it ends."""

    def __init__(self, listener: Listener, begin: list[Event]) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(_messages(listener, begin), headers=headers, media_type=MEDIA_TYPE)
        self._listener = listener

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with aclosing(self.body_iterator):  # type: ignore[type-var]
                await super().__call__(scope, receive, send)
        finally:
            self._listener.close()


async def _messages(listener: Listener, begin: list[Event]) -> AsyncIterator[str]:
    # Something at once, for clients that wait for the first byte.
    yield ": live\n\n" + _text(begin)
    while (taken := await listener.take(SILENCE_S)) is not None:
        events, missed = taken
        lost = f'event: missed\ndata: {{"count":{missed}}}\n\n' if missed else ""
        yield lost + _text(events) or ": still here\n\n"


def _text(events: list[Event]) -> str:
    texts = as_json(events)
    return "".join(f"id: {event.number}\ndata: {text}\n\n" for event, text in zip(events, texts, strict=True))

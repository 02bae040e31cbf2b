import asyncio
import sys

from _shared.work import long_running_task

from outlast import Request, Response, UnhandledRejectionEvent, add_event_listener, serve


@add_event_listener("unhandledrejection")
def unhandled(event: UnhandledRejectionEvent) -> None:
    print("Unhandled rejection:", event.reason, file=sys.stderr)
    event.prevent_default()  # Prevent the default error behavior


@serve
async def handler(request: Request) -> Response:
    # Nobody awaits it and it is no background task: only the listener hears of its failure.
    asyncio.create_task(long_running_task())  # noqa: RUF006, see above
    return Response.json({"ok": True})

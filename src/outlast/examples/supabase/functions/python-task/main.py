import asyncio
import uuid

from outlast import EdgeRuntime, Request, Response, serve


async def make_report(report_id: str) -> None:
    for step in ("collect", "draw", "store"):
        await asyncio.sleep(0.5)  # the work itself: a query, a page to render, an upload
        print(f"report {report_id}: {step} done")


@serve
async def handler(request: Request) -> Response:
    report_id = uuid.uuid4().hex[:8]

    # Not awaited: the response leaves at once, the report is made after it.
    EdgeRuntime.wait_until(make_report(report_id), name="make-report")

    return Response.json({"accepted": report_id}, status=202)

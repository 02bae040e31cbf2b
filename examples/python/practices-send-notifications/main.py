from _shared.work import send_email, user

from outlast import EdgeRuntime, Request, Response, serve


@serve
async def handler(request: Request) -> Response:
    EdgeRuntime.wait_until(
        send_email(to=user["email"], subject="Task completed", body="Your AI task has finished processing")
    )
    return Response.json({"ok": True})

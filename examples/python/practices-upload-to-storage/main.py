import time

from _shared.work import supabase_admin

from outlast import EdgeRuntime, Request, Response, serve


@serve
async def handler(request: Request) -> Response:
    image_data = (await request.json())["imageData"]

    # Upload in the background
    bucket = supabase_admin.storage.from_("images")
    EdgeRuntime.wait_until(bucket.upload(f"generated/{time.time_ns()}.png", image_data))

    # Return the response immediately
    return Response.json({"processing": True})

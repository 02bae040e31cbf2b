import hashlib
import resource

from _shared.gate import case_of
from starlette.datastructures import UploadFile

from outlast import Request, Response, serve


def peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


async def count(request: Request) -> Response:
    before = peak_kib()
    size = 0
    async for chunk in request:
        size += len(chunk)
    return Response.json({"size": size, "grown_kib": peak_kib() - before})


async def form(request: Request) -> Response:
    async with request.form() as form:
        fields = {name: value for name, value in form.items() if isinstance(value, str)}
        files = [
            [name, file.filename, file.content_type, hashlib.sha256(await file.read()).hexdigest()]
            for name, file in form.multi_items()
            if isinstance(file, UploadFile)
        ]
    return Response.json({"fields": fields, "files": files})


@serve
async def handler(request: Request) -> Response:
    return await {"count": count, "form": form}[case_of(request)](request)

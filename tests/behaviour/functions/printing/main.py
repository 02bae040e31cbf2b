import logging

from _shared.gate import gate, work_of

from outlast import Request, Response, serve

logger = logging.getLogger("printing")
logger.setLevel(logging.DEBUG)

print("evaluated")


@serve
async def handler(request: Request) -> Response:
    work = work_of(request)
    logger.debug("%s debug", work)
    print(f"{work} log")
    logger.info("%s info", work)
    logger.warning("%s warn", work)
    logger.error("%s error", work)
    print(f"{work} one\n  two\nthree")
    print(f"{work} object", {"a": [1, "two"]})
    print(f"{work} Grüße 🌍")
    text = await gate(work)
    print(f"{work} {text}")
    return Response("ok")

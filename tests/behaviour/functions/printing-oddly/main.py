import os
import sys

from outlast import Request, Response, serve


@serve
async def handler(request: Request) -> Response:
    sys.stdout.buffer.write(b"written to stdout\n")
    sys.stdout.buffer.flush()
    os.write(1, b"in ")
    os.write(1, b"two\n")
    os.write(2, b"written to stderr\n")
    print("x" * (1 << 20))
    print("half a character: \ud83c")
    print('pretends\n{"event":"ready","url":"http://forged"}')
    return Response("ok")

import os
import socket
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _shared.gate import case_of

from outlast import Request, Response, serve

HERE = Path(__file__).parent


def environment_of_libraries() -> dict[str, str]:
    # Not `os.environ`, which is a copy: what the C library says, and with it every program that is run.
    lines = subprocess.run(["/usr/bin/env", "-0"], capture_output=True, check=True, text=True).stdout
    return dict(line.split("=", 1) for line in lines.split("\0") if line)


def write_temporary() -> list[Any]:
    descriptor, file = tempfile.mkstemp()
    os.close(descriptor)
    Path(file).write_text("written")
    return [file.startswith(os.environ["TMPDIR"]), Path(file).read_text()]


# What a request to `/surroundings/CASE?at=PATH` tries to do; it answers with the result, or with 403 and the error.
ATTEMPTS: dict[str, Callable[[str], Any]] = {
    "environment": lambda at: dict(os.environ),
    "environment-of-libraries": lambda at: environment_of_libraries(),
    "environment-of-process": lambda at: Path("/proc/self/environ").read_text(),
    "descriptors": lambda at: sorted(str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.exists()),
    "read": lambda at: Path(at).read_text(),
    "read-own": lambda at: (HERE / "data.txt").read_text(),
    "read-shared": lambda at: (HERE / "../_shared/data.txt").read_text(),
    "write-temporary": lambda at: write_temporary(),
    "harmless": lambda at: [socket.gethostname(), os.uname().release, os.cpu_count()],
}


@serve
async def handler(request: Request) -> Response:
    try:
        result = ATTEMPTS[case_of(request)](request.query.get("at", ""))
    except OSError as error:
        return Response.json(f"{type(error).__name__}: {error}", status=403)
    return Response.json(result)

"""The process that serves a project for tests: ``python -m outlast.testing.node DIR``.

It ends when its standard input does. Nobody writes there: whoever started it holds the other end, so that it does not
outlive them, however they end. It prints one line on standard output, when it listens or cannot start; its log goes to
standard error.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec
import uvloop

from outlast import app
from outlast.admin.address import Address
from outlast.core.errors import OutlastError
from outlast.database import choice
from outlast.telemetry.logs import Format, Log

GRACE_S = 1.0
"""For tasks that the last tests have left."""


class Started(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The line on standard output, as JSON."""

    url: str = ""
    admin_url: str = ""
    error: str = ""
    """Why it cannot start."""


async def _run(options: app.Options) -> int:
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), _read_on)
    # Unbuffered: the last lines matter most when a process ends badly.
    log = Log(lambda text: os.write(sys.stderr.fileno(), text.encode(errors="backslashreplace")), format=Format.PRETTY)
    return await app.serve(options, log, on_ready=lambda url, admin: _say(Started(url=url, admin_url=admin or "")))


def _read_on() -> None:
    if not os.read(sys.stdin.fileno(), 1024):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        signal.raise_signal(signal.SIGTERM)


def _say(started: Started) -> None:
    sys.stdout.write(msgspec.json.encode(started).decode() + "\n")
    sys.stdout.flush()


def main(arguments: list[str], environ: Mapping[str, str]) -> int:
    options = app.Options(
        target=Path(arguments[0]),
        environ=environ,
        port=0,
        admin=Address(port=0),
        # The developer may have a server of the project running, which commands should find instead.
        announced=False,
        database=choice.OFF,
        graceful_exit_timeout_s=GRACE_S,
    )
    try:
        return uvloop.run(_run(options))
    except OutlastError as error:
        _say(Started(error=str(error)))
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))

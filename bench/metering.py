"""``python -m bench.metering``: what it costs the server to look after workers that do nothing, or wait.

Its own CPU time, a second, without workers, with so many that are idle, and with so many that have a task open.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from bench import contenders, open_loop
from bench.__main__ import machine
from bench.load import BenchError

MOST_SHARE = 0.01

FUNCTION = """
import asyncio

from outlast import EdgeRuntime, Request, Response, serve

@serve
async def handler(request: Request) -> Response:
    if request.query:
        EdgeRuntime.wait_until(asyncio.sleep(600))
    return Response("ok")
"""


def main() -> int:
    """Returns the exit code: 1 when a figure is worse than wanted."""
    parser = argparse.ArgumentParser(prog="python -m bench.metering")
    parser.add_argument("--workers", type=int, default=100, help="Python workers (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement (default: %(default)s)")
    # Workers that have just been busy are looked at more often.
    parser.add_argument("--settling", type=float, default=3, help="seconds before each (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    arguments = parser.parse_args()
    pids: list[int] = []
    shares = {}
    with tempfile.TemporaryDirectory() as folder:
        project = _project(Path(folder), arguments.workers)
        options = ["--no-verify-jwt", "--graceful-exit-timeout=0", "--log-level=warning"]
        with contenders.outlast("", options, project, on_start=pids.append) as url:
            shares["no worker"] = _cpu_share(pids[0], arguments.settling, arguments.seconds)
            uvloop.run(_call(url, arguments.workers, ""))
            shares[f"{arguments.workers} idle workers"] = _cpu_share(pids[0], arguments.settling, arguments.seconds)
            uvloop.run(_call(url, arguments.workers, "?task"))
            shares[f"{arguments.workers} workers with a task"] = _cpu_share(
                pids[0], arguments.settling, arguments.seconds
            )
    idle = shares["no worker"]
    for name, share in shares.items():
        print(f"{name}: {share * 100:.2f} % of a core")
    worst = max(shares.values()) - idle
    print(f"cost of looking after them: {worst * 100:.2f} % of a core, wanted: less than {MOST_SHARE * 100:.0f} %")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"machine": machine(), "cpu_share": shares}, indent=2) + "\n")
    return int(worst >= MOST_SHARE)


def _project(folder: Path, count: int) -> Path:
    for number in range(count):
        function = folder / "supabase" / "functions" / f"f{number}"
        function.mkdir(parents=True)
        (function / "main.py").write_text(FUNCTION)
    (folder / "supabase" / "config.toml").touch()
    (folder / "supabase" / "outlast.toml").write_text("[scale]\nstandby = 0\n")
    return folder


async def _call(url: str, count: int, query: str) -> None:
    """Each function once, so that each has a worker."""
    for number in range(count):
        async with open_loop.calling(f"{url}f{number}{query}") as caller:
            answer = await caller.ask()
            if answer.status != 200:
                raise BenchError(f"f{number} answered {answer}")


def _cpu_share(pid: int, settling_s: float, seconds: float) -> float:
    """Of one CPU, of the process alone, without those that it has started."""
    time.sleep(settling_s)
    clock = ~pid << 3 | 2  # clock_getcpuclockid(3)
    began, before = time.monotonic(), time.clock_gettime(clock)
    time.sleep(seconds)
    return (time.clock_gettime(clock) - before) / (time.monotonic() - began)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(2)

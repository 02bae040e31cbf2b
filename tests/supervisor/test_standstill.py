"""A node that is stopped for a while, as by Ctrl-Z, hears what has come meanwhile before it runs out of patience."""

import asyncio
import signal
from pathlib import Path

from tests.supervisor.site import function, site, texts

from outlast.wire.idle import LATE_S

LIMIT_S = 2.0
LIMITS = f"""
[limits]
request_idle_ms = {LIMIT_S * 1000:.0f}
boot_timeout_ms = {LIMIT_S * 1000:.0f}
"""


async def test_what_came_in_time_counts(tmp_path: Path) -> None:
    functions = {"answers": function("in time"), "boots": function("in time", top_level="await pass('boot')")}
    async with site(tmp_path, functions, outlast=LIMITS) as served:
        await served.get("answers")
        calls = [asyncio.create_task(served.get(path)) for path in ("answers?wait=answer", "boots")]
        await served.held("answer", "boot")
        served.node.process.send_signal(signal.SIGSTOP)
        served.let_go("answer", "boot")
        # This is what it is about.
        await asyncio.sleep(LIMIT_S + LATE_S + 0.5)
        served.node.process.send_signal(signal.SIGCONT)
        assert texts(await asyncio.gather(*calls)) == {(200, "in time")}

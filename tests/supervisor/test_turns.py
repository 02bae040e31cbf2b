"""For how long at a time the node asks Linux for a CPU: the shorter, the sooner it gets one."""

import ctypes
import os
import struct
from pathlib import Path

import pytest
from tests.supervisor.site import site

from outlast.sandbox import kernel

SLICE_OF = '''
def slice_of(pid):
    """sched_getattr(2); nanoseconds, 0 where Linux does not tell."""
    number = {"x86_64": 315, "aarch64": 275}[os.uname().machine]
    attributes = ctypes.create_string_buffer(48)
    assert ctypes.CDLL(None).syscall(number, pid, attributes, 48, 0) == 0
    return struct.unpack("=IIQiIQQQ", attributes.raw)[5]
'''
FUNCTION = f"""
import ctypes, os, struct
from outlast import Request, Response, serve
{SLICE_OF}

@serve
async def handler(_: Request) -> Response:
    return Response(str(slice_of(0)))
"""


def slice_of(pid: int) -> int:
    names = {"ctypes": ctypes, "os": os, "struct": struct}
    exec(SLICE_OF, names)
    length: int = names["slice_of"](pid)  # type: ignore[operator]
    return length


@pytest.mark.skipif(not Path("/proc").is_dir() or not slice_of(0), reason="Linux before 6.12 has one slice for all")
async def test_the_node_asks_for_short_slices_and_its_workers_do_not(tmp_path: Path) -> None:
    async with site(tmp_path, {"turns/main.py": FUNCTION}) as served:
        response = await served.get("turns")
        assert response.text == str(slice_of(0))
        assert slice_of(served.node.process.pid) == kernel.SHORTEST_SLICE

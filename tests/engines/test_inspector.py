"""A worker's debugger gets the port that its predecessor gives up, and no other program's."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from outlast.engines.deno import inspector


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    """Somebody listens there."""
    with socket.socket() as there:
        there.bind((inspector.HOST, 0))
        there.listen()
        yield there


async def test_a_port_is_waited_for(taken: socket.socket) -> None:
    port = taken.getsockname()[1]
    waiting = asyncio.create_task(inspector.wait_until_free(port))
    done, _ = await asyncio.wait([waiting], timeout=0.1)
    assert not done
    taken.close()
    await asyncio.wait_for(waiting, 5)


async def test_a_port_that_stays_taken_is_named(taken: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspector, "PATIENCE_S", 0.1)
    port = taken.getsockname()[1]
    with pytest.raises(inspector.PortTaken, match=rf"^127\.0\.0\.1:{port}, .* is taken: .* inspector_port in config"):
        await inspector.wait_until_free(port)

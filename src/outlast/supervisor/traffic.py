"""The requests that one worker has, and the connections that carry them."""

import asyncio
import contextlib
import math
from pathlib import Path
from typing import Protocol

from outlast.core.errors import OutlastError
from outlast.core.limits import Verdict
from outlast.core.outcome import SHUT_DOWN, EndReason, RequestEnd
from outlast.supervisor.exchange import Exchange
from outlast.supervisor.lane import Lane
from outlast.supervisor.link import Link
from outlast.wire import sockets

MAX_LINK_IDLE_S = 3.0
"""Servers close idle connections (node:http after 5 s); a request must not meet one that is about to close."""
LOST_GRACE_S = 1.0
"""After a connection is lost, how long the end of the process is waited for, which tells the reason."""


class Owner(Protocol):
    """What is reported to the worker."""

    def request_ended(self, left: int) -> None:
        """A request has ended; this many are left."""

    def unreachable(self, exchange: Exchange, why: str) -> None:
        """The worker does not accept connections. Nothing of the exchange was sent."""

    def request_abandoned(self, request_id: str) -> None:
        """Nobody waits for its response any more; the worker may still be at work on it."""

    def response_malformed(self, request_id: str, error: OutlastError) -> None:
        """The worker sent something that is not an HTTP response."""

    def lane_failed(self, why: str) -> None:
        """Connections on the worker's lane, or one of them, were closed. The requests on them are told."""


class Traffic:
    """Implements `outlast.supervisor.link.Owner`."""

    def __init__(self, execution_id: str, owner: Owner, idle_limit_s: float) -> None:
        """``idle_limit_s``: the longest silence of the worker in the middle of a request; 0: any."""
        self.execution_id = execution_id
        self._socket = ""
        """Path of the unix socket that the worker serves on; empty until it is known."""
        self._owner = owner
        self._idle_limit_s = idle_limit_s
        self._loop = asyncio.get_running_loop()
        self._exchanges: set[Exchange] = set()
        self._free: list[Link] = []
        """The latest one used is used next, so that those not needed grow old."""
        self._lane: Lane | None = None
        self._free_on_lane: list[Link] = []
        self._connecting: set[asyncio.Task[None]] = set()
        self._ahead: asyncio.Task[object] | None = None
        self._lost: dict[Exchange, asyncio.TimerHandle] = {}
        self._killed_for: tuple[EndReason, Verdict | None] | None = None
        self.begun = 0
        """Requests carried so far."""
        self.signs_of_life = 0
        """How often the worker has sent or received something."""

    def open_ahead(self, socket: str) -> None:
        """Opens a lane, or else a connection, before there is a request for it. Done once; it may fail."""
        if self._ahead is None:
            self._socket = socket
            self._ahead = self._loop.create_task(self._open(socket))

    async def _open(self, socket: str) -> None:
        if await self._open_lane(socket):
            return
        link = Link(self, self._idle_limit_s)
        with contextlib.suppress(OSError):
            await link.open(socket)
            if socket == self._socket:
                self._free.append(link)
            else:
                link.close()

    async def _open_lane(self, socket: str) -> bool:
        """Returns whether the worker that serves on this socket has a lane."""
        lane = Lane(self._owner.lane_failed)
        try:
            await lane.connect(str(Path(socket).with_name(sockets.LANE)))
        except OSError:
            return False
        if socket == self._socket:
            self._lane = lane
        else:
            lane.close()
        return True

    def serve_by(self, socket: str) -> None:
        """From now on requests go by this socket."""
        if socket != self._socket:
            self._socket = socket
            self._close_free()
            if self._ahead is None:
                self._ahead = self._loop.create_task(self._open_lane(socket))

    def carry(self, exchange: Exchange) -> int:
        """Sends a request to the worker. Returns how many it has now."""
        exchanges, lane = self._exchanges, self._lane
        exchanges.add(exchange)
        self.begun += 1
        if lane is not None and not (lane.is_clear and exchange.is_short):
            lane = None
        free, max_idle_s = (self._free, MAX_LINK_IDLE_S) if lane is None else (self._free_on_lane, math.inf)
        while free:
            link = free.pop()
            if link.is_fresh(max_idle_s) and link.carry(exchange):
                return len(exchanges)
            link.close()
        if lane is not None and not lane.is_closing():
            link = Link(self, self._idle_limit_s)
            lane.open(link)
            if link.carry(exchange):
                return len(exchanges)
        connecting = self._loop.create_task(Link(self, self._idle_limit_s).connect(self._socket, exchange))
        self._connecting.add(connecting)
        connecting.add_done_callback(self._connecting.discard)
        return len(exchanges)

    @property
    def is_condemned(self) -> bool:
        """Whether the worker is being killed."""
        return self._killed_for is not None

    def condemn(self, reason: EndReason, limit: Verdict | None = None) -> None:
        """The worker is about to be killed. The first reason counts, with the ``limit`` that was reached."""
        if self._killed_for is None:
            self._killed_for = reason, limit

    def close(self, reason: EndReason, limit: Verdict | None) -> None:
        """The worker is gone, for this reason, with its connections and the responses it owed."""
        self._killed_for = reason, limit
        if self._ahead is not None:
            self._ahead.cancel()
        self._close_free()
        for exchange in [*self._exchanges]:
            # A request that was not sent yet is about to fail to connect, and goes to another worker.
            if exchange.sent:
                self.cut_off(exchange)
                if exchange.link is not None:
                    exchange.link.abandon()
                else:
                    self._let_go(exchange)

    def link_done(self, link: Link, exchange: Exchange, reusable: bool) -> None:
        if reusable:
            (self._free_on_lane if link.is_on_lane else self._free).append(link)
        self._let_go(exchange)

    def link_unused(self, exchange: Exchange, why: str) -> None:
        self._let_go(exchange)
        self._owner.unreachable(exchange, why)

    def link_lost(self, exchange: Exchange) -> None:
        exchange.link = None
        self._lost[exchange] = self._loop.call_later(LOST_GRACE_S, self._give_up, exchange)

    def link_abandoned(self, exchange: Exchange) -> None:
        self._owner.request_abandoned(exchange.invocation.request_id)

    def link_misused(self, exchange: Exchange, error: OutlastError) -> None:
        self._owner.response_malformed(exchange.invocation.request_id, error)

    def cut_off(self, exchange: Exchange) -> None:
        reason, limit = self._killed_for or (None, None)
        if limit is not None:
            exchange.fail(RequestEnd.WORKER_LIMIT, limit=limit)
        else:
            exchange.fail(RequestEnd.WORKER_ERROR, why=SHUT_DOWN if reason is EndReason.TERMINATION else "")

    def _close_free(self) -> None:
        for link in self._free:
            link.close()
        self._free.clear()
        if self._lane is not None:
            self._lane.close()

    def _give_up(self, exchange: Exchange) -> None:
        self.cut_off(exchange)
        self._let_go(exchange)

    def _let_go(self, exchange: Exchange) -> None:
        if self._lost and (timer := self._lost.pop(exchange, None)) is not None:
            timer.cancel()
        self._exchanges.discard(exchange)
        self.signs_of_life += 1
        self._owner.request_ended(len(self._exchanges))

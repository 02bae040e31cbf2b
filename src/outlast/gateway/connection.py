"""One client connection: reads requests one after the other, has each served, and decides when to close.

Requests on a connection are served in order; pipelined ones wait, and beyond a bound they are not even read. A request
that is not unambiguous is refused and the connection closed, because nobody knows where the next one would begin.
"""

import asyncio
import socket
import struct
import time
from collections.abc import Iterable
from typing import cast

from outlast.core.outcome import SHUT_DOWN
from outlast.gateway import answers, forward
from outlast.gateway.call import Call, new_request_id
from outlast.gateway.ports import Ports, Served
from outlast.gateway.traced import TracedCall
from outlast.wire import bodies, http1
from outlast.wire.idle import IdleTimer

MAX_PIPELINED = 64 * 1024
"""Bytes read ahead while a request is being served."""

_TOO_MANY = "too many connections: the server has nearly as many files open as it may (ulimit -n)"
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER without a time: close by RST (socket(7))


class Connection(asyncio.Protocol):
    """Implements `outlast.gateway.call.Client` for the call that it is serving."""

    __slots__ = (
        "_advancing",
        "_buffer",
        "_call",
        "_call_type",
        "_connections",
        "_has_hung_up",
        "_head_began_ns",
        "_idle",
        "_latest",
        "_latest_head",
        "_over",
        "_ports",
        "_reading_paused",
        "_scanned",
        "_transport",
        "_writing_paused",
        "is_last",
        "origin",
        "send",
    )

    _transport: asyncio.Transport
    _latest_head: http1.RequestHead
    origin: forward.Origin

    def __init__(self, ports: Ports, connections: "set[Connection]") -> None:
        self._ports = ports
        self._call_type = Call if ports.tracer is None else TracedCall
        self._connections = connections
        self._idle = IdleTimer(asyncio.get_running_loop(), self._on_silence)
        self._call: Call | None = None
        """The request that is being served."""
        self._buffer = b""
        """What was read but not served yet: the beginning of a head, or pipelined requests."""
        self._scanned = 0
        """How much of the buffer is known to contain no whole head."""
        self._head_began_ns = 0
        """When the first part of a head came, since the epoch, if it came in parts."""
        self._latest = b""
        """The bytes of the latest head that came by itself, ``_latest_head``. Clients often repeat one."""
        self._advancing = False
        self._reading_paused = False
        self._writing_paused = False
        self._has_hung_up = False
        """Whether the client has closed its side of a tunnel."""
        self.is_last = False
        self._over = False
        """Whether the last response has been written: what still comes is discarded."""

    # What the event loop tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.send = self._transport.write
        peer = transport.get_extra_info("peername") or ("", 0)
        local = transport.get_extra_info("sockname") or ("", 0)
        self.origin = forward.Origin(
            address=peer[0].encode(),
            port=peer[1],
            local=forward.authority(local[0].encode(), local[1]),
            trusted=self._ports.trust_proxy,
        )
        # The least number that is free is taken, so it says how many files are open.
        if transport.get_extra_info("socket").fileno() >= self._ports.max_files:
            self._refuse(_TOO_MANY, 503, unread=False)
        else:
            self._idle.expect(self._ports.timeouts.head_s)
        # From here on it may be told to finish.
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        call = self._call
        if self._over:
            return
        if call is None and not self._buffer and data == self._latest and not self._writing_paused:
            self._serve(self._latest_head)
            return
        if call is not None and (call.body is not None or call.tunnel):
            if not self._writing_paused:
                self._idle.touch()
            try:
                data = call.receive(data)
            except bodies.BadBody as error:
                self._refuse(str(error), 400)
                return
        self._buffer = self._buffer + data if self._buffer else data
        if self._call is None:
            self._advance()
        if len(self._buffer) > MAX_PIPELINED:
            self._pause_reading()

    def eof_received(self) -> bool:
        """A client that closes its side is taken to be gone, except in a tunnel."""
        if self._call is not None and self._call.tunnel:
            self._has_hung_up = True
            self._call.hang_up()
            return True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._idle.cancel()
        if self._call is not None:
            self._call.lost()
            self._call = None

    def pause_writing(self) -> None:
        self._writing_paused = True
        self._watch()
        if self._call is not None:
            self._call.hold(True)

    def resume_writing(self) -> None:
        self._writing_paused = False
        self._watch()
        if self._call is not None:
            self._call.hold(False)
        else:
            self._advance()

    # What its server asks for.

    def finish(self) -> None:
        """Closes the connection as soon as the request that is being served, or that has begun, has been answered."""
        self.is_last = True
        if self._call is None and not self._buffer and not self._over:
            self._close(unread=False)

    def abort(self) -> None:
        if self._call is not None:
            self._call.give_up(SHUT_DOWN)
        self._transport.abort()

    # What the present call asks for (`outlast.gateway.call.Client`).

    def send_pieces(self, pieces: Iterable[bytes]) -> None:
        self._transport.writelines(pieces)

    def read(self, wanted: bool) -> None:
        if wanted:
            self._resume_reading()
        else:
            self._pause_reading()
        self._watch()

    def take_early(self) -> bytes:
        early, self._buffer = self._buffer, b""
        return early

    def answered(self) -> None:
        call, self._call = self._call, None
        assert call is not None
        if self.is_last:
            is_sending = call.body is not None or (call.tunnel and not self._has_hung_up) or bool(self._buffer)
            self._close(unread=is_sending)
            return
        self._watch()
        if self._reading_paused:
            self._resume_reading()
        if self._buffer:
            self._advance()

    def cut(self, reset: bool) -> None:
        if reset:
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._transport.abort()
        else:
            self._close(unread=False)

    # Reading requests.

    def _advance(self) -> None:
        """Parses and serves heads, as long as there are whole ones and nothing to wait for."""
        if self._advancing:
            return
        self._advancing = True
        try:
            # A client that does not read its responses gets no more of them.
            while self._call is None and (buffer := self._buffer) and not self._writing_paused:
                end = http1.head_end(buffer, self._scanned)
                if end < 0:
                    begins, self._scanned = not self._scanned, len(buffer)
                    if begins:
                        self._head_began_ns = time.time_ns()
                        self._watch()
                    break
                head = http1.parse_request(buffer[:end])
                if end == len(buffer) <= http1.MAX_CACHED_BYTES:
                    self._latest, self._latest_head = buffer, head
                self._buffer = buffer[end:]
                self._scanned = 0
                self._serve(head)
        except http1.Refusal as refusal:
            self._refuse(str(refusal), refusal.status)
        except bodies.BadBody as error:
            self._refuse(str(error), 400)
        finally:
            self._advancing = False

    def _serve(self, head: http1.RequestHead) -> None:
        call = self._call = self._call_type(self, self._ports, head)
        if not head.keep_alive:
            self.is_last = True
        if call.body is not None:
            self._buffer = call.receive(self._buffer)
            if call.body is not None:
                # Until the function wants it.
                self._pause_reading()
        call.serve()

    def _refuse(self, why: str, status: int, *, unread: bool = True) -> None:
        """Responds to what is not taken as a request, if that is still possible, and closes."""
        if self._call is not None:
            self._call.refuse(why, status)
            return
        now_ns = time.time_ns()
        began_ns = self._head_began_ns if self._scanned else now_ns
        request_id = new_request_id(began_ns)
        written = answers.answer(
            status,
            b"%b\n" % why.encode(),
            content_type=answers.TEXT,
            code=answers.code_of(status),
            request_id=request_id,
            connection=b"close",
        )
        self._transport.write(written)
        self._close(unread)
        ms, client = (now_ns - began_ns) / 1e6, self.origin.address.decode()
        self._ports.on_unread(Served(request_id=request_id, client=client, status=status, ms=round(ms, 2), why=why))

    # Time, and the end.

    def _watch(self) -> None:
        """Sets the timer for what has to happen next."""
        timeouts, call = self._ports.timeouts, self._call
        if self._over:
            # A client needs time to take what it is sent; after that, to read it.
            self._idle.expect(timeouts.send_s if self._transport.get_write_buffer_size() else timeouts.linger_s)
        elif self._writing_paused:
            self._idle.expect(timeouts.send_s)
        elif call is None:
            self._idle.expect(timeouts.head_s if self._scanned else timeouts.keep_alive_s)
        else:
            self._idle.expect(timeouts.body_s)

    def _on_silence(self) -> None:
        call = self._call
        is_waiting = call is not None and (call.body is None or self._reading_paused)
        if is_waiting and not self._over and not self._writing_paused:
            # It is the function's turn.
            return
        if self._transport.get_write_buffer_size():
            # It does not even read what it was sent.
            if call is not None:
                call.give_up("the client did not take its answer in time")
            self.cut(reset=True)
        elif call is None and not self._buffer:
            self._transport.abort()
        else:
            self._refuse("the request did not arrive in time", 408)

    def _close(self, unread: bool) -> None:
        """Nothing more will be sent. ``unread``: the client is still sending."""
        self._over = True
        self._buffer = b""
        if unread:
            # Closing with unread bytes would reset the connection, and the client might lose the response.
            self._transport.write_eof()
            self._resume_reading()
        else:
            self._transport.close()
        self._watch()

    def _pause_reading(self) -> None:
        if not self._reading_paused and not self._transport.is_closing():
            self._reading_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._reading_paused and not self._transport.is_closing():
            self._reading_paused = False
            self._transport.resume_reading()

"""Lines out of a stream of bytes, sans-I/O."""

from outlast.core.errors import OutlastError

MAX_LINE_BYTES = 1024 * 1024


class LineTooLong(OutlastError):
    """A line of the control channel is longer than 1 MiB."""


class Lines:
    """Cuts a stream into lines, however it was split on its way."""

    __slots__ = ("_pending",)

    def __init__(self) -> None:
        self._pending = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that ``data`` completes, without their newlines. Raises `LineTooLong`."""
        if self._pending:
            data = self._pending + data
        lines = data.split(b"\n")
        self._pending = lines.pop()
        if len(data) > MAX_LINE_BYTES and max(map(len, [*lines, self._pending])) > MAX_LINE_BYTES:
            raise LineTooLong(f"a line of the control channel is longer than {MAX_LINE_BYTES} bytes")
        return lines

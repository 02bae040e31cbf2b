"""Events as JSON lines, one object a line, for programs."""

import time
from collections.abc import Mapping
from typing import Final

import msgspec

_encoder: Final = msgspec.json.Encoder(enc_hook=str)


class JsonLines:
    """Renders events; caches the text of the present time, which many lines share."""

    def __init__(self) -> None:
        self._second = self._millisecond = -1
        self._stamp = self._text = ""

    def render(self, now: float, record: Mapping[str, object]) -> str:
        """``record`` as one line with its newline, beginning with ``ts`` (RFC 3339, UTC, milliseconds)."""
        try:
            text = _encoder.encode(record).decode()
        except (ValueError, TypeError, OverflowError, RecursionError):
            # Lone surrogates (from bytes that are not UTF-8), and values that JSON cannot represent. They are logged
            # all the same: a log that drops what is odd drops what one looks for.
            text = _encoder.encode({name: _plain(value) for name, value in record.items()}).decode()
        return f'{{"ts":"{self._time(now)}",{text[1:]}\n'

    def render_struct(self, now: float, level: str, event: str, struct: msgspec.Struct) -> str:
        """The same for an event with the fields of a struct, which must have at least one."""
        try:
            text = _encoder.encode(struct).decode()
        except (ValueError, TypeError, OverflowError, RecursionError):
            return self.render(now, {"level": level, "event": event, **msgspec.structs.asdict(struct)})
        return f'{{"ts":"{self._time(now)}","level":"{level}","event":"{event}",{text[1:]}\n'

    def _time(self, now: float) -> str:
        moment = int(now * 1000)
        if moment != self._millisecond:
            second, millisecond = divmod(moment, 1000)
            if second != self._second:
                self._stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
                self._second = second
            self._millisecond = moment
            self._text = f"{self._stamp}.{millisecond:03d}Z"
        return self._text


def _plain(value: object) -> object:
    if value is None or isinstance(value, bool | float):
        return value
    try:
        text = str(value)
    except RecursionError:
        text = f"<{type(value).__name__}, nested too deeply>"
    return text.encode("utf-8", "replace").decode()

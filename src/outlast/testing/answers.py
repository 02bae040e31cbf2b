"""What tests get: the response of a function, and lines that functions have printed."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx


class Answer:
    """The response of a function, read to the end, with content encodings removed."""

    def __init__(self, function: str, response: httpx.Response) -> None:
        self.function = function
        self.status = response.status_code
        self.headers = response.headers
        self.bytes = response.content
        self.request_id: str = response.headers["sb-request-id"]
        """The request's id in the ledger and in the log."""
        self.execution_id: str | None = response.headers.get("x-sb-execution-id")
        """The worker that answered; None if none did."""
        self._response = response

    @property
    def text(self) -> str:
        return self._response.text

    def json(self) -> Any:
        """The body as JSON. Raises ValueError if it is not JSON."""
        return self._response.json()

    def __repr__(self) -> str:
        return f"<{self.function}: {self.status}, {len(self.bytes)} bytes>"


@dataclass(frozen=True)
class LogLine:
    """One event of the log; by default a line that a function has printed."""

    ts: datetime
    level: str
    """``debug``, ``info``, ``warning`` or ``error``."""
    event: str
    """``log`` for a printed line."""
    msg: str
    function: str | None
    request_id: str | None
    execution_id: str | None
    task_id: str | None
    fields: dict[str, Any] = field(repr=False)
    """Everything that the log says about the event."""

    @classmethod
    def of(cls, fields: dict[str, Any]) -> "LogLine":
        optional = {name: fields.get(name) for name in ("function", "request_id", "execution_id", "task_id")}
        return cls(
            ts=datetime.fromisoformat(fields["ts"]),
            level=fields["level"],
            event=fields["event"],
            msg=fields.get("msg", ""),
            fields=fields,
            **optional,
        )

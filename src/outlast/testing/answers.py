"""What comes back: the answer of a function, a line that one has printed."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx


class Answer:
    """Of a function, read to its end. Content encodings are undone."""

    def __init__(self, function: str, response: httpx.Response) -> None:
        self.function = function
        self.status = response.status_code
        self.headers = response.headers
        self.bytes = response.content
        self.request_id: str = response.headers["sb-request-id"]
        """By which the ledger and the log know the request."""
        self.execution_id: str | None = response.headers.get("x-sb-execution-id")
        """Of the worker that has answered; None where none has."""
        self._response = response

    @property
    def text(self) -> str:
        return self._response.text

    def json(self) -> Any:
        """Raises ValueError where it is not JSON."""
        return self._response.json()

    def __repr__(self) -> str:
        return f"<{self.function}: {self.status}, {len(self.bytes)} bytes>"


@dataclass(frozen=True)
class LogLine:
    """One event of the log, by default a line that a function has printed."""

    ts: datetime
    level: str
    """``debug``, ``info``, ``warning`` or ``error``."""
    event: str
    """``log`` for what is printed."""
    msg: str
    function: str | None
    request_id: str | None
    execution_id: str | None
    task_id: str | None
    fields: dict[str, Any] = field(repr=False)
    """All that the log says of it."""

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

"""The fixture `outlast_sync`, for sync tests."""

from collections.abc import Mapping
from typing import Any

import httpx

from outlast.core.records import TaskRecord
from outlast.testing.answers import Answer, LogLine
from outlast.testing.asking import Asking, Call
from outlast.testing.served import Served
from outlast.testing.transport import carry_out

__tracebackhide__ = True


class SyncResponse(Answer):
    """The response of a function, and access to what comes after it."""

    def __init__(self, function: str, response: httpx.Response, asking: Asking) -> None:
        super().__init__(function, response)
        self._asking = asking

    def background(self, timeout: float = 10.0) -> list[TaskRecord]:
        """Waits until the background tasks of this request have settled; returns them, oldest first.

        ``timeout``: in seconds. Raises `NotSettled`, an AssertionError, which names those that are still open.
        """
        return carry_out(self._asking.background(self, timeout))


class SyncOutlast(Served):
    """The fixture `outlast_sync`."""

    def invoke(
        self,
        function: str,
        *,
        method: str | None = None,
        path: str = "",
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str | None] | None = None,
        json: Any = None,
        data: str | bytes | Mapping[str, Any] | None = None,
        files: Any = None,
        timeout: float = 60.0,
    ) -> SyncResponse:
        """Calls a function, and reads the whole response.

        If the function checks tokens, the project's anon key is sent.

        Args:
            method: default: POST with a body, GET without one.
            path: what follows the function's name in the URL.
            params: the query.
            headers: a value of None leaves out a header that would be sent otherwise, such as `authorization`.
            json: the body, as JSON.
            data: the body: text, bytes, or the fields of a form.
            files: the files of a multipart form, as httpx takes them.
            timeout: seconds of silence; a function's first call may have packages to fetch.

        Raises `Failure` if there is no complete response, and for more than one body.
        """
        call = Call(function, method, path, params, headers, json, data, files, timeout)
        return SyncResponse(function, carry_out(self._asking.invoke(call)), self._asking)

    def tasks(
        self,
        *,
        function: str | None = None,
        outcome: str | None = None,
        name: str | None = None,
        request: Answer | str | None = None,
    ) -> list[TaskRecord]:
        """The background tasks started since the test began, oldest first.

        ``outcome``: as in the records, or ``open``. ``request``: a response, or the id of a request.
        """
        return carry_out(self._asking.tasks(function, outcome, name, request))

    def logs(
        self,
        *,
        function: str | None = None,
        request: Answer | str | None = None,
        level: str | None = None,
        event: str | None = "log",
    ) -> list[LogLine]:
        """What functions have printed since the test began, oldest first.

        ``level``: this level or higher. ``event``: another kind of event; None: all kinds.
        """
        return carry_out(self._asking.logs(function, request, level, event))

"""Decides who may use the admin API.

The token is what counts. The rest keeps out web pages, which can make a visitor's browser send requests to the
visitor's own machine: to a name of theirs that resolves to it (DNS rebinding), or from their own origin.
"""

import hmac
import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from outlast.admin.answers import Problem, problem


class Access:
    """ASGI middleware that refuses unauthorized requests."""

    def __init__(self, app: ASGIApp, *, token: str, scheme: str, names: Collection[str], loopback: bool) -> None:
        """``names``: host names accepted besides IP addresses. ``loopback``: whether it only listens on loopback."""
        self._app = app
        self._token = token.encode()
        self._scheme = scheme
        self._names = {name.lower() for name in names} | {"localhost"}
        self._loopback = loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        found: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            found.setdefault(name, []).append(value)
        refused = self._refused(found)
        if refused is not None:
            answer = problem(refused)
            answer.headers["connection"] = "close"
            await answer(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _refused(self, fields: dict[bytes, list[bytes]]) -> Problem | None:
        host = _only(fields.get(b"host"))
        if host is None or not self._is_ours(host):
            return Problem(403, "WRONG_HOST", "call the admin API by an IP address or as localhost, not by this name")
        # Only browsers send these fields.
        origin = fields.get(b"origin")
        site = fields.get(b"sec-fetch-site", [b"none"])
        if (origin is not None and _only(origin) != f"{self._scheme}://{host}") or (
            _only(site) not in ("none", "same-origin")
        ):
            return Problem(403, "WRONG_ORIGIN", "the admin API does not speak to web pages of other origins")
        if not self._is_authorized(fields.get(b"authorization")):
            text = "send 'Authorization: Bearer TOKEN' with the token in .outlast/admin-token of the project"
            return Problem(401, "UNAUTHORIZED", text)
        return None

    def _is_ours(self, host: str) -> bool:
        if self._scheme == "https":
            # The certificate covers the name.
            return True
        try:
            name = urlsplit(f"//{host}").hostname or ""
            urlsplit(f"//{host}").port  # noqa: B018, raises for what is none
        except ValueError:
            return False
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return name in self._names
        return address.is_loopback if self._loopback else True

    def _is_authorized(self, given: list[bytes] | None) -> bool:
        value = given[0] if given is not None and len(given) == 1 else b""
        scheme, _, token = value.partition(b" ")
        # Always compared, so that timing reveals nothing about the scheme either.
        return hmac.compare_digest(token.strip(), self._token) and scheme.lower() == b"bearer"


def _only(values: list[bytes] | None) -> str | None:
    return values[0].decode("latin-1") if values is not None and len(values) == 1 else None

"""The key sets that an issuer publishes, fetched anew as they grow old."""

from __future__ import annotations

import asyncio
import math
import threading
import time
import urllib.request
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Final

import msgspec

from outlast.gateway.keys import Key, UnusableKeyError, entries, usable

FETCH_TIMEOUT_S: Final = 5.0
FETCH_COOLDOWN_S: Final = 30.0
"""Made-up key ids cost the keys' issuer at most one request in this time."""
FETCH_RETRY_S: Final = 5.0
"""A failed fetch is repeated sooner: on a developer's machine the issuer often starts after the node."""
FRESH_S: Final = 600.0
"""After this a remote key set is fetched again even if no key is missing, so that withdrawn keys end."""
MAX_KEY_SET_BYTES: Final = 1024 * 1024

Fetch = Callable[[str], Awaitable[bytes]]
"""Gets the body behind a URL. May raise anything."""


class _OpenIdConfiguration(msgspec.Struct):
    jwks_uri: str


_configuration_decoder = msgspec.json.Decoder(_OpenIdConfiguration)


def by_discovery(fetch: Fetch) -> Fetch:
    """Gets the key set that an OpenID configuration names (OpenID Connect Discovery 1.0, section 4)."""

    async def fetch_what_it_names(url: str) -> bytes:
        try:
            address = _configuration_decoder.decode(await fetch(url)).jwks_uri
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise UnusableKeyError(f"not an OpenID configuration, which names a jwks_uri: {error}") from error
        try:
            return await fetch(address)
        except Exception as error:
            raise UnusableKeyError(f"{address}: {error}") from error

    return fetch_what_it_names


class RemoteKeys:
    """The key set behind a URL, as last seen. ``replaced`` is called when it has been fetched anew."""

    def __init__(
        self,
        url: str,
        fetch: Fetch,
        clock: Callable[[], float],
        warn: Callable[[str], object],
        replaced: Callable[[], object],
        issuer: str | None = None,
    ) -> None:
        self.keys: tuple[Key, ...] = ()
        self.fresh_until = -math.inf
        self.issuer = issuer
        """Whose tokens these keys verify; None: no matter whose."""
        self._url = url
        self._fetch = fetch
        self._clock = clock
        self._warn = warn
        self._replaced = replaced
        self.has_failed = False
        """Whether the last attempt to fetch the key set did."""
        self._attempted_at = -math.inf
        self._pause_s = 0.0
        self._running: asyncio.Task[None] | None = None
        self._fetching: asyncio.Future[bytes] | None = None
        """Goes on until it ends by itself, even if it was given up."""

    def may_refresh(self, now: float) -> bool:
        if self._running is not None:
            return True
        # A clock set back must not lengthen the pause: a time before the last attempt counts as after it.
        return self._fetching is None and not 0 <= now - self._attempted_at < self._pause_s

    def begin_refresh(self) -> asyncio.Task[None] | None:
        """Fetches the key set, once for all who ask meanwhile. None if the last attempt goes on or is too recent.

        When the fetch fails, ``warn`` is called and the keys stay what they were: an issuer's outage does not
        lock out those who hold good tokens.
        """
        if self._running is None and self.may_refresh(self._clock()):
            self._running = asyncio.create_task(self._refresh(), name="refresh JWT keys")
        return self._running

    async def refresh(self) -> None:
        """Waits for what `begin_refresh` does, `FETCH_TIMEOUT_S` at most."""
        if running := self.begin_refresh():
            # A client that goes away must not end the fetch that others wait for.
            await asyncio.shield(running)

    async def _refresh(self) -> None:
        failed, pause_s = True, FETCH_RETRY_S
        self._fetching = asyncio.ensure_future(self._fetch(self._url))
        self._fetching.add_done_callback(self._fetched)
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                text = await asyncio.shield(self._fetching)
            self.keys = usable(entries(text))
        except Exception as error:  # whatever a fetch can raise, the decision falls on the keys at hand
            self._warn(f"the JWT keys at {self._url} could not be fetched: {str(error) or type(error).__name__}")
        else:
            failed, pause_s = False, FETCH_COOLDOWN_S
            self.fresh_until = self._clock() + FRESH_S
            self._replaced()
        finally:
            self.has_failed, self._running = failed, None
            self._attempted_at, self._pause_s = self._clock(), pause_s

    def _fetched(self, fetching: asyncio.Future[bytes]) -> None:
        self._fetching = None
        if not fetching.cancelled():
            fetching.exception()  # of one that was given up nobody else asks for it


async def fetch_over_http(url: str) -> bytes:
    """The body behind an http(s) URL, at most MAX_KEY_SET_BYTES. Raises OSError or UnusableKeyError."""
    answer: Future[bytes] = Future()
    answer.set_running_or_notify_cancel()

    def fetch() -> None:
        try:
            answer.set_result(_fetch_blocking(url))
        except BaseException as error:
            answer.set_exception(error)

    # Not in a pool: one that hangs would take the place of others there, and the node would wait for it when it ends.
    threading.Thread(target=fetch, name="fetch JWT keys", daemon=True).start()
    return await asyncio.wrap_future(answer)


def _fetch_blocking(url: str) -> bytes:
    if not url.startswith(("http://", "https://")):
        raise UnusableKeyError(f"{url} is no http or https address")
    over = time.monotonic() + FETCH_TIMEOUT_S
    request = urllib.request.Request(url, headers={"Accept": "application/json"})  # noqa: S310, checked above
    with urllib.request.urlopen(request, timeout=FETCH_TIMEOUT_S) as response:  # noqa: S310
        body = b""
        while piece := response.read1(65_536):
            body += piece
            if len(body) > MAX_KEY_SET_BYTES:
                raise UnusableKeyError(f"the answer is longer than {MAX_KEY_SET_BYTES} bytes")
            if time.monotonic() > over:
                raise TimeoutError
    return body

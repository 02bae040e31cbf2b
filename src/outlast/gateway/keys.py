"""The keys for verifying tokens, and where they come from.

Every key belongs to exactly one algorithm from the moment it is read: the shared secret to HS256, an EC key
to ES256, an RSA key to RS256. A token's ``alg`` merely selects among them. So a token "signed" with a public
key as if that were a secret finds only the secret, and fails; ``none`` and all other algorithms find no key.

PyJWT is imported only for a key that needs it: with the cryptography behind it, it is a tenth of what a node has to
load, and most projects have a plain secret and no other key.
"""

from __future__ import annotations

import asyncio
import hmac
import math
import re
import threading
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from outlast.config.signing_keys import MIN_RSA_BITS, Jwk
from outlast.core.errors import OutlastError

FETCH_TIMEOUT_S: Final = 5.0
FETCH_COOLDOWN_S: Final = 30.0
"""Made-up key ids cost the keys' issuer at most one request in this time."""
FETCH_RETRY_S: Final = 5.0
"""A failed fetch is repeated sooner: on a developer's machine the issuer often starts after the node."""
FRESH_S: Final = 600.0
"""After this a remote key set is fetched again even if no key is missing, so that withdrawn keys end."""
MAX_KEY_SET_BYTES: Final = 1024 * 1024
_PLAIN: Final = re.compile(r"(?!ssh-|ecdsa-)[A-Za-z0-9+/=_.~-]+")
"""No other kind of key looks like this: PEM has spaces, JSON has quotation marks, DER has other bytes."""

Fetch = Callable[[str], Awaitable[bytes]]


class UnusableKeyError(OutlastError):
    """A secret or a key set (RFC 7517) cannot be used."""


class _Algorithm(Protocol):
    def verify(self, msg: bytes, key: object, sig: bytes) -> bool: ...


@dataclass(frozen=True, slots=True)
class Key:
    """One key and the one algorithm that it serves."""

    alg: str
    kid: str | None
    material: object
    algorithm: _Algorithm

    def signed(self, message: bytes, signature: bytes) -> bool:
        return self.algorithm.verify(message, self.material, signature)


class _HmacSha256:
    def verify(self, msg: bytes, key: object, sig: bytes) -> bool:
        assert isinstance(key, bytes)
        return hmac.compare_digest(hmac.digest(key, msg, "sha256"), sig)


def secret_key(secret: str) -> Key:
    """The HS256 key. Raises UnusableKeyError if the secret is by mistake a public key."""
    if _PLAIN.fullmatch(secret) is None:
        _refuse_other_keys(secret)
    return Key("HS256", None, secret.encode(), _HmacSha256())


def _refuse_other_keys(secret: str) -> None:
    import jwt

    try:
        jwt.get_algorithm_by_name("HS256").prepare_key(secret)
    except (jwt.InvalidKeyError, UnicodeError) as error:
        raise UnusableKeyError(f"the JWT secret cannot be used for HS256: {error}") from error


class _Jwk(Jwk, frozen=True):
    """Private members are not read: only the public half of a private key is used."""

    key_ops: list[str] | None = None


class _JwkSet(msgspec.Struct):
    keys: list[msgspec.Raw]


_jwk_decoder = msgspec.json.Decoder(_Jwk)
_jwk_set_decoder = msgspec.json.Decoder(_JwkSet)


def entries(text: str | bytes) -> list[msgspec.Raw]:
    """What a JWK set holds. Raises UnusableKeyError if the text is no JWK set."""
    try:
        return _jwk_set_decoder.decode(text).keys
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise UnusableKeyError(f'not a JWK set, which looks like {{"keys": [...]}}: {error}') from error


def usable(entries: Iterable[msgspec.Raw]) -> tuple[Key, ...]:
    """The ES256 and RS256 keys among the entries.

    Keys of other kinds and uses, and broken ones, are left out (RFC 7517, section 5): an issuer may add what
    this version does not know.
    """
    return tuple(key for entry in entries if (key := _parse_key(entry)) is not None)


def _parse_key(entry: msgspec.Raw) -> Key | None:
    import jwt

    try:
        jwk = _jwk_decoder.decode(entry)
        if jwk.use not in (None, "sig") or (jwk.key_ops is not None and "verify" not in jwk.key_ops):
            return None
        if jwk.kty == "EC" and jwk.crv == "P-256" and jwk.alg in (None, "ES256") and jwk.x and jwk.y:
            return _public_key("ES256", jwk.kid, {"kty": "EC", "crv": "P-256", "x": jwk.x, "y": jwk.y})
        if jwk.kty == "RSA" and jwk.alg in (None, "RS256") and jwk.n and jwk.e:
            key = _public_key("RS256", jwk.kid, {"kty": "RSA", "n": jwk.n, "e": jwk.e})
            return key if getattr(key.material, "key_size", 0) >= MIN_RSA_BITS else None
    except (msgspec.MsgspecError, jwt.PyJWTError, ValueError, RecursionError):
        return None  # ValueError: bad base64url, or numbers that are no key, such as a point off the curve
    return None


def _public_key(alg: str, kid: str | None, members: dict[str, str]) -> Key:
    import jwt

    algorithm = jwt.get_algorithm_by_name(alg)
    return Key(alg, kid, algorithm.from_jwk(members), algorithm)


def select(keys: Iterable[Key], alg: str, kid: str | None) -> Key | None:
    """The key that a token means. Without ``kid`` that is clear only if exactly one key has that algorithm."""
    candidates = [key for key in keys if key.alg == alg and kid in (None, key.kid)]
    return candidates[0] if candidates and (kid is not None or len(candidates) == 1) else None


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
        """Waits for what `begin_refresh` does."""
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

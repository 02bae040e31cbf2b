"""Decides who may call a function, by the JWT or the API key that a request carries.

The responses are those of Supabase's edge runtime, so that a client cannot tell the two apart. The gateway
checks only functions with ``verify_jwt``, and never OPTIONS: a preflight has no credentials.

A decision needs no ``await``, unless a token names a key that the remote key set may have gained meanwhile. Accepted
headers are remembered until they expire, which makes the usual request one lookup in a dictionary.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Final

from outlast.gateway import keys
from outlast.gateway.keys import UnusableKeyError
from outlast.gateway.remote_keys import Fetch, RemoteKeys, by_discovery, fetch_over_http
from outlast.gateway.tokens import TokenError, UnverifiedToken
from outlast.wire import http1

MAX_REMEMBERED: Final = 1024
MAX_REMEMBERED_BYTES: Final = 4096
"""Longer headers are verified each time, so that what is remembered stays below 4 MiB."""

# RFC 9110, section 11.1: a scheme is case-insensitive (Supabase's runtime insists on "Bearer").
_BEARER = re.compile(rb"bearer +([^ \t,]+) *", re.IGNORECASE)
_API_KEY: Final = b"sb_"


@dataclass(frozen=True, slots=True)
class Denial:
    """The response to a request that may not pass."""

    status: ClassVar[int] = 401
    content_type: ClassVar[bytes] = b"application/json"

    code: str
    """Value of ``sb-error-code``."""
    body: bytes
    challenge: bytes
    """Value of ``WWW-Authenticate``, which RFC 9110 section 15.5.2 requires with every 401."""
    reason: str
    """What exactly was wrong, for the log. Contains nothing of the token but ``alg`` and ``kid``."""


MISSING: Final = Denial(
    code="UNAUTHORIZED_NO_AUTH_HEADER",
    body=b'{"msg":"Error: Missing authorization header"}',
    challenge=b"Bearer",
    reason="the request has neither an Authorization header nor an apikey",
)
MALFORMED: Final = Denial(
    code="UNAUTHORIZED_INVALID_JWT_FORMAT",
    body=b"""{"msg":"Error: Auth header is not 'Bearer {token}'"}""",
    challenge=b'Bearer error="invalid_request"',
    reason="the Authorization header is not 'Bearer TOKEN'",
)
UNKNOWN_KEY: Final = Denial(
    # What Supabase's runtime says to whatever is no JWT.
    code="UNAUTHORIZED_INVALID_JWT_FORMAT",
    body=b'{"msg":"Unknown API key"}',
    challenge=b'Bearer error="invalid_token"',
    reason="the API key (sb_...) is in neither SUPABASE_PUBLISHABLE_KEYS nor SUPABASE_SECRET_KEYS "
    "(those of local projects count only while the JWT secret is theirs, too)",
)


def _invalid(reason: str) -> Denial:
    return Denial(
        code="UNAUTHORIZED_INVALID_JWT",
        body=b'{"msg":"Invalid JWT"}',
        challenge=b'Bearer error="invalid_token"',
        reason=reason,
    )


def credential(fields: http1.Fields) -> bytes | None:
    """What a request has to show for itself, in the form of an Authorization header.

    As in Supabase's local projects, that is the header ``apikey`` where Authorization is missing, or an API key itself:
    supabase-js sends its key in this way, in older versions in both headers.
    """
    given = b", ".join(http1.values(fields, b"authorization"))
    if (not given or given[7:10] == _API_KEY) and (key := b", ".join(http1.values(fields, b"apikey"))):
        return b"Bearer " + key
    return given or None


class Pending:
    """The decision needs remote key sets: ``await pending.resolve()``."""

    __slots__ = ("_authorization", "_needed", "_token", "_verifier")

    def __init__(
        self, verifier: JwtVerifier, token: UnverifiedToken, authorization: bytes, needed: Collection[RemoteKeys]
    ) -> None:
        self._verifier = verifier
        self._token = token
        self._authorization = authorization
        self._needed = needed

    async def resolve(self) -> Denial | None:
        """``None`` when the request may pass. Takes as long as `RemoteKeys.refresh`; never raises."""
        await asyncio.gather(*(remote.refresh() for remote in self._needed))
        return self._verifier.judge(self._token, self._authorization)


class JwtVerifier:
    """Decides by the Authorization header, or what stands for it (`credential`), whether a request may pass.

    ``secret`` verifies HS256; the key set ``jwks`` (JSON text), the one behind ``jwks_url`` and that of ``issuer`` (the
    address of an OpenID provider) verify ES256 and RS256. Of several keys of the same id, the first in this order
    counts. With ``issuer_shares_keys``, the keys of ``issuer`` verify only tokens that name it (iss). ``api_keys`` are
    accepted in place of a token. ``fetch`` gets the body behind a URL and may raise anything. ``clock`` gives seconds
    since the epoch. ``warn`` is called with one line when remote keys could not be fetched.

    Raises UnusableKeyError when ``secret`` or ``jwks`` cannot be used.
    """

    def __init__(
        self,
        *,
        secret: str | None = None,
        jwks: str | None = None,
        jwks_url: str | None = None,
        issuer: str | None = None,
        issuer_shares_keys: bool = False,
        api_keys: Collection[str] = (),
        fetch: Fetch = fetch_over_http,
        clock: Callable[[], float] = time.time,
        warn: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._secret = keys.secret_key(secret) if secret else None
        try:
            self._entries = keys.entries(jwks) if jwks else []
        except UnusableKeyError as error:
            raise UnusableKeyError(f"SUPABASE_JWKS: {error}") from error
        self._api_keys = frozenset(key.encode() for key in api_keys)
        self._clock = clock
        # Invariant: a header is in here only if its token was verified with a key that is still trusted; the
        # value is the first moment at which that has to be looked at again.
        self._accepted: dict[bytes, float] = {}
        remotes = []
        if jwks_url:
            remotes.append(RemoteKeys(jwks_url, fetch, clock, warn, self._accepted.clear))
        if issuer:
            configuration, named = f"{issuer}/.well-known/openid-configuration", issuer if issuer_shares_keys else None
            discover = by_discovery(fetch)
            remotes.append(RemoteKeys(configuration, discover, clock, warn, self._accepted.clear, named))
        self._remotes = tuple(remotes)

    def check(self, authorization: bytes | None) -> Denial | Pending | None:
        """``None`` when the request may pass. Never waits for anything and never raises.

        ``Pending`` comes only for an ES256 or RS256 token whose key is not at hand, or not fresh, and only if
        a key set that may have it was not fetched just now. A key that is not fresh counts without waiting while its
        issuer cannot be reached.
        """
        if not authorization:
            return MISSING
        now = self._clock()
        if now < self._accepted.get(authorization, 0.0):
            return None
        bearer = _BEARER.fullmatch(authorization)
        if bearer is None:
            return MALFORMED
        if bearer[1].startswith(_API_KEY):
            return None if bearer[1] in self._api_keys else UNKNOWN_KEY
        try:
            token = UnverifiedToken.parse(bearer[1])
        except TokenError as error:
            return _invalid(str(error))
        if needed := self._needed(token, now):
            return Pending(self, token, authorization, needed)
        return self.judge(token, authorization)

    def judge(self, token: UnverifiedToken, authorization: bytes) -> Denial | None:
        """Decides with the keys now at hand."""
        now = self._clock()
        key, remote = self._find(token)
        if key is None:
            return _invalid(_no_key(token))
        if not token.is_signed_by(key):
            return _invalid(f"the token's {token.alg} signature is wrong")
        try:
            valid_until = token.valid_until(now, remote.issuer if remote else None)
        except TokenError as error:
            return _invalid(str(error))
        self._remember(authorization, min(valid_until, remote.fresh_until) if remote else valid_until, now)
        return None

    @cached_property
    def _local(self) -> tuple[keys.Key, ...]:
        # Not before a token needs them: every local project has such keys, and loading PyJWT for them takes its time.
        return keys.usable(self._entries)

    def _find(self, token: UnverifiedToken) -> tuple[keys.Key | None, RemoteKeys | None]:
        """The token's key, and the remote key set that it is in, if it is a remote one."""
        if token.alg == "HS256":
            return self._secret, None
        sets = ((self._local, None), *((remote.keys, remote) for remote in self._remotes))
        found = [(key, remote) for each, remote in sets if (key := keys.select(each, token.alg, token.kid)) is not None]
        if token.kid is None and len(found) > 1:
            # It names none, so each set may mean another one.
            found = [(key, remote) for key, remote in found if token.is_signed_by(key)] or found
        return found[0] if found else (None, None)

    def _needed(self, token: UnverifiedToken, now: float) -> list[RemoteKeys]:
        """What to fetch before the token is judged: the key set that its key is in, if not fresh; all if in none.

        If that key set could not be fetched the last time, it is fetched meanwhile: in an outage nobody waits for it.
        """
        if not self._remotes or token.alg not in ("ES256", "RS256"):
            return []
        key, remote = self._find(token)
        if key is None or (token.kid is None and not token.is_signed_by(key)):
            return [each for each in self._remotes if each.may_refresh(now)]
        if remote is None or now < remote.fresh_until or not remote.may_refresh(now):
            return []
        if remote.has_failed:
            remote.begin_refresh()
            return []
        return [remote]

    def _remember(self, authorization: bytes, until: float, now: float) -> None:
        if until <= now or len(authorization) > MAX_REMEMBERED_BYTES:
            return
        if len(self._accepted) >= MAX_REMEMBERED:
            del self._accepted[next(iter(self._accepted))]  # the oldest
        self._accepted[authorization] = until


def _no_key(token: UnverifiedToken) -> str:
    if token.alg == "HS256":
        return "the token is signed with HS256, but no JWT secret is set"
    if token.alg not in ("ES256", "RS256"):
        return f"the token's algorithm {token.alg[:40]!r} is not one of HS256, ES256, RS256"
    if token.kid is None:
        return f"the token names no key (kid), and there is not exactly one key for {token.alg}"
    return f"the token's key {token.kid[:80]!r} is not among the known {token.alg} keys"

"""The tokens that callers send: JSON Web Tokens, in their compact form."""

from __future__ import annotations

import base64
import binascii
import math
import re
from dataclasses import dataclass

import msgspec

from outlast.core.errors import OutlastError
from outlast.gateway.keys import Key

_COMPACT_JWS = re.compile(rb"(([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+))\.([A-Za-z0-9_-]+)")


class TokenError(OutlastError):
    """Why a token is not accepted. The text is for the node's log, never for the client."""


class _Header(msgspec.Struct):
    alg: str
    kid: str | None = None
    crit: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Claims(msgspec.Struct):
    exp: int | float | msgspec.UnsetType = msgspec.UNSET
    nbf: int | float | msgspec.UnsetType = msgspec.UNSET
    iat: int | float | msgspec.UnsetType = msgspec.UNSET
    """Decides nothing, but has to be a number, too."""
    iss: object = msgspec.UNSET


_header_decoder = msgspec.json.Decoder(_Header)
_claims_decoder = msgspec.json.Decoder(_Claims)


@dataclass(frozen=True, slots=True)
class UnverifiedToken:
    """A token taken apart (RFC 7515, section 7.1). Nothing in it is to be believed yet."""

    alg: str
    kid: str | None
    signing_input: bytes
    payload: bytes
    signature: bytes

    @classmethod
    def parse(cls, text: bytes) -> UnverifiedToken:
        """Raises TokenError."""
        parts = _COMPACT_JWS.fullmatch(text)
        if parts is None:
            raise TokenError("the token is not three base64url parts joined by dots")
        try:
            header = _header_decoder.decode(_base64url(parts[2]))
            payload, signature = _base64url(parts[3]), _base64url(parts[4])
        except (msgspec.MsgspecError, binascii.Error, UnicodeError, RecursionError) as error:
            # RecursionError: nested too deeply, which msgspec does not count among its own errors.
            raise TokenError(f"the token cannot be read: {error}") from error
        if header.crit is not msgspec.UNSET:
            raise TokenError("the token demands extensions (crit), of which none is known")
        return cls(header.alg, header.kid, parts[1], payload, signature)

    def is_signed_by(self, key: Key) -> bool:
        return key.signed(self.signing_input, self.signature)

    def valid_until(self, now: float, issuer: str | None) -> float:
        """When it expires, if it is valid ``now``: both in seconds since the epoch; infinity if it does not say.

        No leeway. RFC 7519, sections 4.1.1 and 4.1.4 to 4.1.6. ``issuer``: whose it has to be; None: anybody's.

        Raises TokenError if it has expired, is not valid yet, gives its times in anything but numbers, or is of another
        issuer.
        """
        try:
            claims = _claims_decoder.decode(self.payload)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise TokenError(f"the token's claims cannot be read: {error}") from error
        if issuer is not None and claims.iss != issuer:
            raise TokenError(f"the token is of another issuer (iss) than {issuer}")
        if claims.nbf is not msgspec.UNSET and now < claims.nbf:
            raise TokenError(f"the token is valid only in {claims.nbf - now:.0f} s (nbf)")
        if claims.exp is msgspec.UNSET:
            return math.inf
        if now >= claims.exp:
            raise TokenError(f"the token expired {now - claims.exp:.0f} s ago (exp)")
        return claims.exp


def _base64url(text: bytes) -> bytes:
    return base64.urlsafe_b64decode(text + b"==")

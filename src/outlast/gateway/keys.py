"""The keys for verifying tokens.

Every key belongs to exactly one algorithm from the moment it is read: the shared secret to HS256, an EC key
to ES256, an RSA key to RS256. A token's ``alg`` merely selects among them. So a token "signed" with a public
key as if that were a secret finds only the secret, and fails; ``none`` and all other algorithms find no key.

PyJWT is imported only for a key that needs it: with the cryptography behind it, it is a tenth of what a node has to
load, and most projects have a plain secret and no other key.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from outlast.config.signing_keys import MIN_RSA_BITS, Jwk
from outlast.core.errors import OutlastError

_PLAIN: Final = re.compile(r"(?!ssh-|ecdsa-)[A-Za-z0-9+/=_.~-]+")
"""No other kind of key looks like this: PEM has spaces, JSON has quotation marks, DER has other bytes."""


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

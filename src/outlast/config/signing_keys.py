"""The private keys that a local project signs its tokens with, in the file that ``auth.signing_keys_path`` names."""

import base64
import time
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import msgspec

from outlast.config.errors import ConfigError
from outlast.config.files import read_text

MIN_RSA_BITS: Final = 2048
"""RFC 7518, section 3.3. The gateway verifies with no shorter key."""
_P256_BYTES: Final = 32
_LIFETIME_S: Final = 10 * 365 * 86_400
"""The same as in Supabase's CLI."""
_FORM: Final = "a JSON array of private keys (JWK), as `supabase gen signing-key` makes them"


@dataclass(frozen=True)
class SigningKeys:
    """What follows from the private keys."""

    anon_key: str = field(repr=False)
    service_role_key: str = field(repr=False)
    key_set: str
    """The public part of all of them: a JSON Web Key Set as JSON text."""


class Jwk(msgspec.Struct, omit_defaults=True, frozen=True):
    """The public members of a key that matter here (RFC 7517 and 7518)."""

    kty: str
    kid: str | None = None
    use: str | None = None
    alg: str | None = None
    crv: str | None = None
    x: str | None = None
    y: str | None = None
    n: str | None = None
    e: str | None = None


class _Jwk(Jwk, frozen=True):
    """An RSA key's primes follow from the other numbers."""

    d: str | None = None


_decoder = msgspec.json.Decoder(list[_Jwk])


def read(path: Path, shown: str) -> SigningKeys | None:
    """None where the array is empty, as with Supabase's CLI.

    Raises ConfigError, whose text begins with ``shown`` and has nothing of the keys in it.
    """
    text = read_text(path, shown)
    if text is None:
        raise ConfigError(f"{shown}: there is no such file; it must be {_FORM}")
    try:
        return _signed(text)
    except ConfigError as error:
        raise ConfigError(f"{shown}: {error}") from error


@lru_cache(maxsize=1)
def _signed(text: str) -> SigningKeys | None:
    # Once for the same text: what is signed again differs, and functions whose environment differs are reloaded.
    try:
        jwks = _decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ConfigError(f"is not {_FORM}: {error}") from error
    if not jwks:
        return None
    keys = []
    for number, jwk in enumerate(jwks, 1):
        try:
            keys.append(_Key.of(jwk))
        except ConfigError as error:
            raise ConfigError(f"key {number} of {len(jwks)} {error}") from error
    if not keys[0].is_private:
        raise ConfigError(f"key 1 of {len(jwks)} is public, but it is the one to sign with: its d is missing")
    return SigningKeys(
        anon_key=keys[0].api_key("anon"),
        service_role_key=keys[0].api_key("service_role"),
        key_set=msgspec.json.encode({"keys": [key.public for key in keys]}).decode(),
    )


@dataclass(frozen=True)
class _Key:
    alg: str
    is_private: bool
    material: Any
    public: _Jwk

    @classmethod
    def of(cls, jwk: _Jwk) -> "_Key":
        """Raises ConfigError, whose text goes on after the key's number."""
        alg = {("EC", "P-256"): "ES256", ("RSA", None): "RS256"}.get((jwk.kty, jwk.crv))
        if alg is None or jwk.alg not in (None, alg):
            raise ConfigError("serves neither ES256 (kty EC, crv P-256) nor RS256 (kty RSA)")
        if jwk.use not in (None, "sig"):
            raise ConfigError("is not for signatures: its use is not sig")
        # PyJWT is imported only for those who have such keys: it is a tenth of what a node has to load.
        import jwt

        try:
            if alg == "ES256":
                jwk = _with_whole_numbers(jwk)
            material: Any = jwt.get_algorithm_by_name(alg).from_jwk(msgspec.to_builtins(jwk))
        except (jwt.PyJWTError, ValueError, ArithmeticError) as error:
            raise ConfigError(f"is no {alg} key: its numbers are incomplete or contradict each other") from error
        if alg == "RS256" and material.key_size < MIN_RSA_BITS:
            raise ConfigError(f"is too short: an RSA key must have {MIN_RSA_BITS} bits or more")
        return cls(alg, jwk.d is not None, material, public=msgspec.structs.replace(jwk, d=None))

    def api_key(self, role: str) -> str:
        import jwt

        claims = {"iss": "supabase-demo", "role": role, "exp": int(time.time()) + _LIFETIME_S}
        kid = self.public.kid
        return jwt.encode(claims, self.material, self.alg, headers={"kid": kid} if kid else None)


def _with_whole_numbers(jwk: _Jwk) -> _Jwk:
    """Supabase's CLI leaves out leading zero bytes, which RFC 7518, section 6.2, demands."""
    numbers = {name: value for name in ("x", "y", "d") if (value := getattr(jwk, name)) is not None}
    return msgspec.structs.replace(jwk, **{name: _padded(value) for name, value in numbers.items()})


def _padded(number: str) -> str:
    data = base64.urlsafe_b64decode(number + "==").rjust(_P256_BYTES, b"\0")
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

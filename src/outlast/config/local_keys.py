"""The keys that all local Supabase projects share, so that a folder works here as it does there."""

import base64
import hashlib
import hmac
import json

LOCAL_JWT_SECRET = "super-secret-jwt-token-with-at-least-32-characters-long"  # noqa: S105 (public by design)

PUBLISHABLE_KEYS = '{"default":"sb_publishable_ACJWlzQHlZjBrEguHvfOxg_3BJgxAaH"}'
SECRET_KEYS = '{"default":"sb_secret_N7UND0UgjKTVK-Uodkm0Hg_xSvEMPvz"}'  # noqa: S105 (public by design)
"""The keys that take the place of those of ``anon`` and ``service_role``, by their names, as functions find them.

Everybody knows them, so they are worth no more than `LOCAL_JWT_SECRET`: they go with it, and with no other secret.
"""

_SIGNING_KEY = {
    "kty": "EC",
    "kid": "b81269f1-21d8-4f2e-b719-c2240a840d90",
    "use": "sig",
    "alg": "ES256",
    "crv": "P-256",
    "x": "M5Sjqn5zwC9Kl1zVfUUGvv9boQjCGd45G8sdopBExB4",
    "y": "P6IXMvA2WYXSHSOMTBH2jsw_9rrzGy89FjPf6oOsIxQ",
}
"""What Supabase's local Auth signs with; the private half is as well known as the secret."""

_EXPIRES_AT_S = 1983812996


def api_key(role: str, secret: str) -> str:
    """The API key of ``anon`` or ``service_role``, byte for byte as Supabase's CLI signs it.

    Signed by hand: PyJWT promises no order of the fields, and people compare these keys with those they know.
    """
    header = _encoded({"alg": "HS256", "typ": "JWT"})
    claims = _encoded({"iss": "supabase-demo", "role": role, "exp": _EXPIRES_AT_S})
    signed = b".".join((header, claims))
    signature = hmac.digest(secret.encode(), signed, hashlib.sha256)
    return b".".join((signed, _base64url(signature))).decode()


def key_set() -> str:
    """The JSON Web Key Set that verifies the tokens of local projects, as functions find it."""
    secret = {"kty": "oct", "k": _base64url(LOCAL_JWT_SECRET.encode()).decode()}
    return json.dumps({"keys": [_SIGNING_KEY, secret]}, separators=(",", ":"))


def _encoded(fields: dict[str, str | int]) -> bytes:
    return _base64url(json.dumps(fields, separators=(",", ":")).encode())


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")

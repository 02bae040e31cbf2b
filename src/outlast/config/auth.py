"""Who may call functions, and with which keys: ``[auth]`` of config.toml, and what the server's environment says."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from outlast.config import signing_keys, third_party, variables
from outlast.config.errors import ConfigError
from outlast.config.layout import Layout
from outlast.config.local_keys import LOCAL_JWT_SECRET, PUBLISHABLE_KEYS, SECRET_KEYS, api_key
from outlast.config.signing_keys import SigningKeys
from outlast.config.third_party import Issuer
from outlast.config.toml_file import Section
from outlast.config.variables import Variables

_SHORTEST_SECRET = 16
"""The same minimum as in Supabase's CLI."""


def _as_default(key: str) -> str:
    return msgspec.json.encode({"default": key}).decode()


_KEYS: Mapping[str, tuple[str, Callable[[str], str]]] = {
    "anon_key": ("SUPABASE_ANON_KEY", str),
    "service_role_key": ("SUPABASE_SERVICE_ROLE_KEY", str),
    "publishable_key": ("SUPABASE_PUBLISHABLE_KEYS", _as_default),
    "secret_key": ("SUPABASE_SECRET_KEYS", _as_default),
}
"""The variable that each of them becomes, and how it is written there."""
_OPAQUE = "sb_"
"""By this the gateway tells a publishable or secret key from a token."""
KEYS = ("enabled", "jwt_secret", "signing_keys_path", "third_party", *_KEYS)
KEYS_OF_OTHERS = ("enable_signup", "jwt_expiry", "jwt_issuer")
"""Supabase's own, as far as they resemble one of these."""


@dataclass(frozen=True)
class JwtSettings:
    """What callers' tokens are checked against. Functions see the API keys, and of ``jwks`` the public part."""

    secret: str = field(repr=False)
    jwks: str | None = field(repr=False)
    """A JSON Web Key Set as JSON text; private keys may be in it."""
    jwks_url: str | None
    api_keys: frozenset[str] = field(default=frozenset(), repr=False)
    """Publishable and secret keys (``sb_…``), which are as good as a token."""
    issuer: Issuer | None = None
    """A third party, whose tokens count as well."""


@dataclass(frozen=True)
class Auth:
    jwt: JwtSettings
    """Still without what functions' other variables have a say in: the API keys, and the local key set."""
    variables: Variables = field(repr=False)
    """What functions find where the server's environment does not override it."""
    sources: tuple[Path, ...]
    """The files that all this was read from, beside config.toml."""


def read(section: Section, environ: Mapping[str, str], layout: Layout) -> Auth:
    """Raises ConfigError, never with a secret in it."""
    secret = _secret(section, environ)
    path = _signing_keys_path(section, environ, layout)
    signing = None if path is None else _signing_keys(section, path, layout)
    project_url = environ.get("SUPABASE_URL")
    return Auth(
        jwt=JwtSettings(
            secret=secret,
            jwks=environ.get("SUPABASE_JWKS") or (signing.key_set if signing else None),
            jwks_url=f"{project_url.rstrip('/')}/auth/v1/.well-known/jwks.json" if project_url else None,
            issuer=third_party.read(section.table("third_party")),
        ),
        variables=_variables(section, environ, secret, signing),
        sources=() if path is None else (path,),
    )


def _secret(section: Section, environ: Mapping[str, str]) -> str:
    secret = environ.get("SUPABASE_JWT_SECRET")
    if secret and len(secret) < _SHORTEST_SECRET:
        raise ConfigError(f"SUPABASE_JWT_SECRET: is shorter than {_SHORTEST_SECRET} characters; set a longer one")
    # With the variable set, an env(NAME) in config.toml that is not set is of no consequence.
    if not secret and (secret := section.text("jwt_secret", private=True)) and len(secret) < _SHORTEST_SECRET:
        raise section.error("jwt_secret", f"is shorter than {_SHORTEST_SECRET} characters; set a longer one")
    return secret or LOCAL_JWT_SECRET


def _signing_keys_path(section: Section, environ: Mapping[str, str], layout: Layout) -> Path | None:
    """None where there are none, or others take their place."""
    if environ.get("SUPABASE_JWKS") or not section.flag("enabled", default=True):
        return None
    name = section.text("signing_keys_path")
    return layout.path(name) if name else None


def _signing_keys(section: Section, path: Path, layout: Layout) -> SigningKeys | None:
    try:
        return signing_keys.read(path, layout.shown(path))
    except ConfigError as error:
        raise section.error("signing_keys_path", str(error), files=(path,)) from error


def _variables(section: Section, environ: Mapping[str, str], secret: str, signing: SigningKeys | None) -> Variables:
    found = {
        "SUPABASE_ANON_KEY": signing.anon_key if signing else api_key("anon", secret),
        "SUPABASE_SERVICE_ROLE_KEY": signing.service_role_key if signing else api_key("service_role", secret),
    }
    if signing:
        found["SUPABASE_JWKS"] = signing.key_set
    if secret == LOCAL_JWT_SECRET:
        found |= {"SUPABASE_PUBLISHABLE_KEYS": PUBLISHABLE_KEYS, "SUPABASE_SECRET_KEYS": SECRET_KEYS}
    names = {key: name for key, (name, _) in _KEYS.items() if key in section and not environ.get(name)}
    own = variables.of_section(section, names)
    for key, name in names.items():
        if value := own.values.get(name):
            written = _KEYS[key][1]
            if written is _as_default and not value.startswith(_OPAQUE):
                raise section.error(key, f"does not begin with {_OPAQUE}, as such keys do: no caller could use it")
            found[name] = written(value)
    return Variables(found, own.warnings)

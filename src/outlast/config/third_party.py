"""Whose tokens count beside the project's own: ``[auth.third_party.*]`` of config.toml."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from outlast.config.toml_file import Section

_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")
_ADDRESS: Final = re.compile(r"https?://[A-Za-z0-9._-]+(:[0-9]+)?(/[^\s?#]*)?")


@dataclass(frozen=True)
class Issuer:
    """Who signs tokens; its OpenID configuration names its keys."""

    url: str
    shares_keys: bool = False
    """Whether others sign with the same keys, so that only the token itself says whose it is."""


def read(section: Section) -> Issuer | None:
    """Raises ConfigError if more than one is enabled, or one that lacks what its address follows from."""
    enabled = [name for name in PROVIDERS if section.table(name).flag("enabled", default=False)]
    if not enabled:
        return None
    first, *others = enabled
    if others:
        raise section.table(others[0]).error("enabled", f"is true, and so is that of {first}; enable one of them")
    return PROVIDERS[first](section.table(first))


def _firebase(section: Section) -> Issuer:
    return Issuer(f"https://securetoken.google.com/{_needed(section, 'project_id')}", shares_keys=True)


def _auth0(section: Section) -> Issuer:
    tenant = _needed(section, "tenant")
    region = f".{_needed(section, 'tenant_region')}" if section.text("tenant_region") else ""
    return Issuer(f"https://{tenant}{region}.auth0.com")


def _aws_cognito(section: Section) -> Issuer:
    pool, region = _needed(section, "user_pool_id"), _needed(section, "user_pool_region")
    return Issuer(f"https://cognito-idp.{region}.amazonaws.com/{pool}")


def _clerk(section: Section) -> Issuer:
    return Issuer(f"https://{_needed(section, 'domain')}")


def _workos(section: Section) -> Issuer:
    return Issuer(_needed(section, "issuer_url", _ADDRESS, "an http or https address").rstrip("/"))


PROVIDERS: Final[Mapping[str, Callable[[Section], Issuer]]] = {
    "firebase": _firebase,
    "auth0": _auth0,
    "aws_cognito": _aws_cognito,
    "clerk": _clerk,
    "workos": _workos,
}


def _needed(
    section: Section, key: str, form: re.Pattern[str] = _NAME, what: str = "a name of letters, digits and . _ -"
) -> str:
    value = section.text(key)
    if not value:
        raise section.error(key, f"is not set, and {section.path[-1]} is enabled; set it or enabled = false")
    if form.fullmatch(value) is None:
        raise section.error(key, f"{value!r} is not {what}")
    return value

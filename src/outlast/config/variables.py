"""The environment variables of functions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from outlast.config import dotenv_file
from outlast.config.errors import ConfigError
from outlast.config.layout import Layout
from outlast.config.local_keys import LOCAL_JWT_SECRET, key_set
from outlast.config.signing_keys import Jwk
from outlast.config.toml_file import Section

_Form = TypeVar("_Form")
_TAKEN = (
    "SUPABASE_URL",
    "SUPABASE_ANON_KEY",
    "SUPABASE_SERVICE_ROLE_KEY",
    "SUPABASE_PUBLISHABLE_KEYS",
    "SUPABASE_SECRET_KEYS",
    "SUPABASE_JWKS",
    "SUPABASE_DB_URL",
)
_LOCAL = ("http://127.0.0.1:", "http://[::1]:", "http://localhost:")
_API_KEYS = ("SUPABASE_PUBLISHABLE_KEYS", "SUPABASE_SECRET_KEYS")
_PUBLIC_MEMBERS = Jwk.__struct_fields__


@dataclass(frozen=True)
class Variables:
    """Names and values from one source, checked; and a warning for each that was left out."""

    values: Mapping[str, str]
    warnings: tuple[str, ...] = ()


class _KeySet(msgspec.Struct):
    keys: list[dict[str, object]]


def defaults(
    environ: Mapping[str, str], keys: Mapping[str, str], *, url: str, database_url: str | None
) -> dict[str, str]:
    """The SUPABASE_ variables. The node's own environment overrides them, to point to another project."""
    local = {"SUPABASE_URL": url, **keys}
    if database_url is not None:
        local["SUPABASE_DB_URL"] = database_url
    given = {name: environ[name] for name in _TAKEN if environ.get(name)}
    if "SUPABASE_JWKS" in given:
        given["SUPABASE_JWKS"] = _public_part(given["SUPABASE_JWKS"])
    return local | given


def local_key_set(env: Mapping[str, str], *, jwt_secret: str) -> str | None:
    """What verifies the tokens of a local project; None for another one.

    Only those: whoever knows the keys of local projects must not be taken for a user of another one.
    """
    return key_set() if jwt_secret == LOCAL_JWT_SECRET and env["SUPABASE_URL"].startswith(_LOCAL) else None


def api_keys(env: Mapping[str, str]) -> frozenset[str]:
    """The publishable and secret keys in the variables of functions. Raises ConfigError."""
    by_name = [_json(name, env.get(name) or "{}", dict[str, str], '{"default":"sb_…"}') for name in _API_KEYS]
    return frozenset(key for keys in by_name for key in keys.values())


def of_section(section: Section, names: Mapping[str, str] | None = None) -> Variables:
    """Those of a table. A value whose ``env(NAME)`` is not set is left out.

    ``names``: the keys that count, and what their variables are called. Without it all count, and the names are
    converted to upper case, as in Supabase's CLI: ``[edge_runtime.secrets]`` or ``[functions.NAME.env]``.
    """
    warnings = []
    found = []
    for key, name in ({key: key.upper() for key in section} if names is None else names).items():
        value = section.secret(key)
        if value is None:
            warnings.append(
                f"{section.where(key)}: is skipped: the variable that {section.values[key]} reads is not set"
            )
        else:
            found.append((section.where(key), name, value))
    return _checked(found, warnings)


def of_file(layout: Layout, env_file: Path | None) -> Variables:
    """``--env-file``, which must exist, or else ``.env`` in the functions folder, which need not."""
    path = env_file if env_file is not None else layout.functions_dir / ".env"
    found = _of_dotenv(layout, path)
    if found is None and env_file is not None:
        raise ConfigError(
            f"{layout.shown(path)}: there is no such file; name a file that exists or leave out --env-file"
        )
    return found or Variables({})


def of_function(section: Section, layout: Layout, dotenv: Path | None) -> Variables:
    """Those of one function: its own ``.env``, which need not exist, and ``env`` in its table, which goes before it."""
    from_file = (dotenv and _of_dotenv(layout, dotenv)) or Variables({})
    own = of_section(section.table("env"))
    return Variables({**from_file.values, **own.values}, (*from_file.warnings, *own.warnings))


def _of_dotenv(layout: Layout, path: Path) -> Variables | None:
    shown = layout.shown(path)
    content = dotenv_file.read(path, shown)
    if content is None:
        return None
    found = [(f"{shown}:{variable.line}: {name}", name, variable.value) for name, variable in content.variables.items()]
    return _checked(found, content.warnings)


def _checked(found: Iterable[tuple[str, str, str]], warnings: Iterable[str]) -> Variables:
    values: dict[str, str] = {}
    skipped = list(warnings)
    for where, name, value in found:
        if not name or "=" in name or "\0" in name + value:
            # No operating system passes these on.
            raise ConfigError(f"{where}: cannot be an environment variable: it has an = in its name or a NUL in it")
        if name.startswith("SUPABASE_") and name not in _TAKEN:
            skipped.append(
                f"{where}: is skipped: of the names that begin SUPABASE_ only {', '.join(_TAKEN)} can be set"
            )
        else:
            values[name] = value
    return Variables(values, tuple(skipped))


def _public_part(jwks: str) -> str:
    """Of the node's own key set: functions are to verify tokens, not to sign them. Raises ConfigError."""
    keys = _json("SUPABASE_JWKS", jwks, _KeySet, '{"keys":[…]}').keys
    public = [{name: key[name] for name in _PUBLIC_MEMBERS if name in key} for key in keys if key.get("kty") != "oct"]
    return msgspec.json.encode(_KeySet(public)).decode()


def _json(name: str, value: str, form: type[_Form], example: str) -> _Form:
    try:
        return msgspec.json.decode(value, type=form)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ConfigError(f"{name}: is not JSON like {example}") from error

"""The import map of a function: the user's own, plus what Outlast itself provides without the network.

The user's map is the one that Deno would have used (``import_map`` of config.toml, ``imports`` of deno.json or the file
that its ``importMap`` names). Its relative addresses are made absolute, because the merged map lies elsewhere.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import msgspec

from outlast.config.settings import FunctionSettings
from outlast.core.errors import OutlastError

GUEST = Path(__file__).with_name("guest")

_ANSWERED = (
    (re.compile(r"jsr:/?@edge-runtime/js(@[^/]*)?"), GUEST / "edge_runtime.ts"),
    (re.compile(r"jsr:/?@supabase/functions-js(@[^/]*)?/edge-runtime(\.d\.ts)?"), GUEST / "empty.ts"),
    (re.compile(r"https://deno\.land/std(@[^/]*)?/http/server\.ts"), GUEST / "std_http_server.ts"),
)

# Strings are matched as well, so that nothing in them is taken for one.
_COMMENT = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
_TRAILING_COMMA = re.compile(r'"(?:\\.|[^"\\])*"|,(?=\s*[}\]])', re.DOTALL)


class ImportMapError(OutlastError):
    """A deno.json or import map that cannot be read."""


def merged(function: FunctionSettings, imported: Mapping[str, str]) -> dict[str, Any]:
    """The import map for ``function``. Raises `ImportMapError`.

    Args:
        imported: the names that its code imports, and what the user's own map resolves them to. An import map knows
            only exact names and is applied once, so every name of something that Outlast provides gets its own entry.
    """
    imports, scopes = _own(function)
    answers = {
        name: module.as_uri()
        for name, address in sorted(imported.items())
        for known, module in _ANSWERED
        if known.fullmatch(address)
    }
    return {"imports": {**imports, **answers}, **({"scopes": scopes} if scopes else {})}


def files(function: FunctionSettings) -> list[Path]:
    """The user's files that the map is made from. Raises `ImportMapError`."""
    if function.import_map is not None:
        return [function.import_map]
    if function.deno_config is None:
        return []
    if isinstance(named := _read(function.deno_config).get("importMap"), str):
        return [function.deno_config, function.deno_config.parent / named]
    return [function.deno_config]


def _own(function: FunctionSettings) -> tuple[dict[str, str], dict[str, Any]]:
    read_from = files(function)
    if not read_from:
        return {}, {}
    found = _read(read_from[-1])
    return _absolute(_with_subpaths(found) if read_from[-1] == function.deno_config else found, read_from[-1])


def _with_subpaths(config: dict[str, Any]) -> dict[str, Any]:
    """Adds what Deno itself adds to the ``imports`` of a deno.json: entries for the sub-paths of packages."""
    imports = config.get("imports", {})
    more = {}
    for name, address in imports.items():
        scheme = re.match(r"(npm|jsr):/?(?=[^/])", address) if isinstance(address, str) else None
        if scheme is not None and not name.endswith("/") and f"{name}/" not in imports:
            more[f"{name}/"] = f"{scheme[1]}:/{address[scheme.end() :]}/"
    return {"imports": {**more, **imports}, "scopes": config.get("scopes", {})}


def _absolute(found: dict[str, Any], file: Path) -> tuple[dict[str, str], dict[str, Any]]:
    base = file.as_uri()

    def resolved(address: Any) -> Any:
        if isinstance(address, str) and address.startswith(("./", "../", "/")):
            return urljoin(base, address)
        return address

    def resolved_map(entries: Any) -> dict[str, Any]:
        if not isinstance(entries, dict):
            raise ImportMapError(f'{file}: "imports" must be an object')
        return {resolved(name): resolved(address) for name, address in entries.items()}

    scopes = found.get("scopes") or {}
    return (
        resolved_map(found.get("imports") or {}),
        {resolved(scope): resolved_map(entries) for scope, entries in scopes.items()},
    )


def _read(file: Path) -> dict[str, Any]:
    """JSON, with the comments and trailing commas that Deno allows."""
    try:
        text = file.read_text("utf-8")
        # In this order: a comment may stand between a comma and what makes it a trailing one.
        value = msgspec.json.decode(_without(_TRAILING_COMMA, _without(_COMMENT, text)))
    except (OSError, UnicodeDecodeError, msgspec.DecodeError) as error:
        raise ImportMapError(f"{file}: {error}") from error
    if not isinstance(value, dict):
        raise ImportMapError(f"{file}: not a JSON object")
    return value


def _without(unwanted: re.Pattern[str], text: str) -> str:
    return unwanted.sub(lambda found: found[0] if found[0].startswith('"') else " ", text)

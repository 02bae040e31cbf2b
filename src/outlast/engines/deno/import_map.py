"""The import map of a function: the user's own, plus what Outlast itself provides without the network.

The user's map is the one that Deno would have used (``import_map`` of config.toml, ``imports`` of deno.json or the file
that its ``importMap`` names, after those of the workspace that the deno.json belongs to). Its relative addresses are
made absolute, because the merged map lies elsewhere.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from outlast.config.settings import FunctionSettings
from outlast.engines.deno import jsonc
from outlast.engines.deno.jsonc import SettingsError
from outlast.engines.deno.package_json import PackageJson
from outlast.engines.deno.shipped import GUEST

_ANSWERED = (
    (re.compile(r"jsr:/?@edge-runtime/js(@[^/]*)?"), GUEST / "edge_runtime.ts"),
    (re.compile(r"jsr:/?@supabase/functions-js(@[^/]*)?/edge-runtime(\.d\.ts)?"), GUEST / "empty.ts"),
    (re.compile(r"https://deno\.land/std(@[^/]*)?/http/server\.ts"), GUEST / "std_http_server.ts"),
)
_PACKAGE_FOLDER = re.compile(r"^(npm|jsr):(?=[^/].*/$)")


def merged(
    function: FunctionSettings, workspace: Path | None, package_json: PackageJson | None, imported: Mapping[str, str]
) -> dict[str, Any]:
    """The import map for ``function``. Raises `SettingsError`.

    Args:
        workspace: as of `outlast.engines.deno.workspace.root`.
        package_json: the function's.
        imported: the names that its code imports, and what the user's own map resolves them to. An import map knows
            only exact names and is applied once, so every name of something that Outlast provides gets its own entry.
    """
    imports, scopes = _own(function)
    if workspace is not None:
        of_all, scopes_of_all = _of_config(workspace)
        imports, scopes = {**of_all, **imports}, {**scopes_of_all, **scopes}
    answers = {
        name: module.as_uri()
        for name, address in sorted(imported.items())
        for known, module in _ANSWERED
        if known.fullmatch(address)
    }
    listed = {} if package_json is None else package_json.imports
    return {"imports": {**_with_subpaths(listed), **imports, **answers}, **({"scopes": scopes} if scopes else {})}


def files(function: FunctionSettings) -> list[Path]:
    """The user's files that say what imports mean. Raises `SettingsError`."""
    others = (function.deno_config, function.package_json, function.npmrc)
    return list(dict.fromkeys([*_maps(function), *(file for file in others if file is not None)]))


def _maps(function: FunctionSettings) -> list[Path]:
    if function.import_map is not None:
        return [function.import_map]
    return [] if function.deno_config is None else named_by(function.deno_config)


def named_by(config: Path) -> list[Path]:
    """A deno.json, and the file that its ``importMap`` names if it has no names of its own: the last one holds them."""
    found = jsonc.read(config)
    # As with Deno and with Supabase's CLI.
    if "imports" not in found and "scopes" not in found and isinstance(named := found.get("importMap"), str):
        return [config, config.parent / named]
    return [config]


def _own(function: FunctionSettings) -> tuple[dict[str, str], dict[str, Any]]:
    if function.import_map is not None:
        return _absolute(jsonc.read(function.import_map), function.import_map)
    return ({}, {}) if function.deno_config is None else _of_config(function.deno_config)


def _of_config(config: Path) -> tuple[dict[str, str], dict[str, Any]]:
    file = named_by(config)[-1]
    imports, scopes = _absolute(jsonc.read(file), file)
    return _with_subpaths(imports) if file == config else imports, scopes


def _with_subpaths(imports: dict[str, str]) -> dict[str, str]:
    """Adds what Deno itself adds to the ``imports`` of a deno.json: entries for the sub-paths of packages."""
    more = {}
    for name, address in imports.items():
        scheme = re.match(r"(npm|jsr):/?(?=[^/])", address) if isinstance(address, str) else None
        if scheme is not None and not name.endswith("/") and f"{name}/" not in imports:
            more[f"{name}/"] = f"{scheme[1]}:/{address[scheme.end() :]}/"
    return {**more, **imports}


def _absolute(found: dict[str, Any], file: Path) -> tuple[dict[str, str], dict[str, Any]]:
    base = file.as_uri()

    def resolved(address: Any) -> Any:
        if isinstance(address, str) and address.startswith(("./", "../", "/")):
            return urljoin(base, address)
        return address

    def of_package(address: Any) -> Any:
        # Without a slash in front, Deno cannot append a sub-path. Supabase's own examples leave it out.
        return _PACKAGE_FOLDER.sub(r"\1:/", address) if isinstance(address, str) else address

    def resolved_map(entries: Any) -> dict[str, Any]:
        if not isinstance(entries, dict):
            raise SettingsError(f'{file}: "imports" must be an object')
        return {resolved(name): of_package(resolved(address)) for name, address in entries.items()}

    scopes = found.get("scopes") or {}
    return (
        resolved_map(found.get("imports") or {}),
        {resolved(scope): resolved_map(entries) for scope, entries in scopes.items()},
    )

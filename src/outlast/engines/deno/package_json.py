"""What a package.json says of a function.

Deno by itself would look for the packages that it lists in a ``node_modules`` folder, which somebody has to fill first.
Here they are entries of the import map, and come from their registry and Deno's cache, like those of a deno.json.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from outlast.config.settings import FunctionSettings
from outlast.engines.deno import jsonc

_KINDS = ("devDependencies", "dependencies")
"""For a package in both, as for Deno, the latter counts."""

_NAME = re.compile(r"@[^/]*/[^/]*|[^/]*")
_ADDRESS = re.compile(r"(npm|jsr):(@[^/@]+/)?[^/@:]+(@[\^~]?[\w.*+-]+)?")
"""As Deno takes it: without comparisons of versions and choices of several (``>=1 <3``, ``1 || 2``)."""


@dataclass(frozen=True)
class PackageJson:
    file: Path
    packages: Mapping[str, str]
    """By the names that they are imported by, what is wanted of each."""
    is_common_js: bool

    @classmethod
    def of(cls, function: FunctionSettings) -> "PackageJson | None":
        """None for a function without one. Raises `jsonc.SettingsError`."""
        file = function.package_json
        if file is None:
            return None
        content = jsonc.read(file)
        packages: dict[str, str] = {}
        for kind in _KINDS:
            listed = content.get(kind, {})
            if not isinstance(listed, dict) or not all(isinstance(wanted, str) for wanted in listed.values()):
                raise jsonc.SettingsError(f'{file}: "{kind}" must be an object with a version for each name')
            packages |= listed
        return cls(file, packages, content.get("type") == "commonjs")

    @property
    def imports(self) -> dict[str, str]:
        """The entries, without those for sub-paths."""
        found = ((name, _address(name, wanted.strip())) for name, wanted in self.packages.items())
        return {name: address for name, address in found if address is not None}

    def hints(self, imported: Iterable[str]) -> list[str]:
        """Which of these imports are of packages that have no entry."""
        names = {found[0] for name in imported if (found := _NAME.match(name)) is not None}
        return [
            f'{self.file}: "{name}" is "{self.packages[name]}", and Deno fetches "1.2.3", "^1.2.3", "~1.2.3" or a tag; '
            'for a file of the project, map the name to it in the "imports" of a deno.json'
            for name in sorted((names & self.packages.keys()) - self.imports.keys())
        ]


def _address(name: str, wanted: str) -> str | None:
    """None for what Deno fetches from no registry, such as ``workspace:*``, ``file:../lib`` or ``owner/repository``."""
    if wanted.startswith("jsr:") and not wanted.startswith("jsr:@"):
        wanted = f"jsr:{name}@{wanted.removeprefix('jsr:')}"
    elif ":" not in wanted:
        wanted = f"npm:{name}@{wanted or '*'}"
    return wanted if _ADDRESS.fullmatch(wanted) else None

"""Finds the functions of a project: by folder, by ``entrypoint`` in config.toml, or the one file that was named."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from outlast.config.errors import ConfigError
from outlast.config.layout import Layout
from outlast.config.toml_file import Section
from outlast.core.language import BY_SUFFIX, Language

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
NAME_RULE = "a function's name is a letter, then letters, digits, - and _"

_ENTRYPOINTS = {
    "index.ts": Language.TYPESCRIPT,
    "index.tsx": Language.TYPESCRIPT,
    "index.js": Language.TYPESCRIPT,
    "index.mjs": Language.TYPESCRIPT,
    "index.jsx": Language.TYPESCRIPT,
    "main.py": Language.PYTHON,
}


@dataclass(frozen=True)
class Candidate:
    """A function's place on disk, whether or not it will be served."""

    name: str
    folder: Path
    entrypoint: Path
    language: Language


@dataclass(frozen=True)
class Candidates:
    """What was found, by name; and a warning for each thing that was passed over, with the reason."""

    found: Mapping[str, Candidate]
    warnings: tuple[str, ...] = ()


def discover(layout: Layout, sections: Section, disabled: Collection[str]) -> Candidates:
    """Finds all functions of the project but the disabled ones.

    ``sections`` is the ``[functions]`` table of config.toml.
    """
    for name in sections:
        if not NAME.fullmatch(name):
            raise sections.error(name, f"is not a valid name: {NAME_RULE}")
    if layout.only_file is not None:
        candidate = _of_file(layout, layout.only_file)
        if candidate.name in disabled:
            problem = "is false: this function is switched off; set it to true to serve it"
            raise sections.table(candidate.name).error("enabled", problem)
        return Candidates({candidate.name: candidate})
    warnings: list[str] = []
    found = _of_sections(layout, sections, disabled, warnings)
    found |= _of_folders(layout, {*found, *disabled}, warnings)
    return Candidates(dict(sorted(found.items())), tuple(warnings))


def lonely_entrypoint(folder: Path) -> Path | None:
    """A function file directly in the folder of functions: then probably one function's own folder was named."""
    candidate = _in_folder(folder)
    return candidate.entrypoint if candidate else None


def existing_file(layout: Layout, section: Section, key: str) -> Path | None:
    """The file that a key of config.toml names, relative to config.toml's folder; None without the key."""
    value = section.text(key)
    if value is None:
        return None
    path = layout.path(value)
    if not path.is_file():
        raise section.error(key, f"there is no file {layout.shown(path)}")
    return path


def _of_sections(
    layout: Layout, sections: Section, disabled: Collection[str], warnings: list[str]
) -> dict[str, Candidate]:
    found = {}
    for name, section in sections.tables():
        if name in disabled:
            continue
        if "entrypoint" in section:
            found[name] = _configured(layout, name, section)
        elif not (folder := layout.functions_dir / name).is_dir():
            warnings.append(f"{sections.where(name)}: is not served: there is no {layout.shown(folder)}")
    return found


def _of_folders(layout: Layout, settled: Collection[str], warnings: list[str]) -> dict[str, Candidate]:
    found = {}
    for folder in _folders(layout.functions_dir):
        if folder.name in settled:
            continue
        if not NAME.fullmatch(folder.name):
            warnings.append(f"{layout.shown(folder)}: is not served: {NAME_RULE}")
        elif (candidate := _in_folder(folder)) is not None:
            found[folder.name] = candidate
            warnings += _passed_over(layout, candidate)
        else:
            wanted = ", ".join(_ENTRYPOINTS)
            warnings.append(f"{layout.shown(folder)}: is not served: it holds none of {wanted}")
    return found


def _folders(functions_dir: Path) -> Iterator[Path]:
    if not functions_dir.is_dir():
        return
    for entry in sorted(functions_dir.iterdir()):
        # node_modules is what a package.json beside the functions leaves behind.
        if entry.name[0] not in "_." and entry.name != "node_modules" and entry.is_dir():
            yield entry


def _in_folder(folder: Path) -> Candidate | None:
    for file_name, language in _ENTRYPOINTS.items():
        if (entrypoint := folder / file_name).is_file():
            return Candidate(folder.name, folder, entrypoint, language)
    return None


def _passed_over(layout: Layout, candidate: Candidate) -> Iterator[str]:
    """Warns of a second entrypoint, in the other language: a folder is one function."""
    for file_name, language in _ENTRYPOINTS.items():
        if language is not candidate.language and (other := candidate.folder / file_name).is_file():
            hint = f"functions.{candidate.name}.entrypoint in config.toml says which of the two"
            yield f"{layout.shown(other)}: is not served: {candidate.entrypoint.name} beside it is; {hint}"


def _configured(layout: Layout, name: str, section: Section) -> Candidate:
    entrypoint = existing_file(layout, section, "entrypoint")
    assert entrypoint is not None, "only sections with an entrypoint come here"
    language = BY_SUFFIX.get(entrypoint.suffix)
    if language is None:
        raise section.error("entrypoint", f"{entrypoint.name!r} does not end in {', '.join(BY_SUFFIX)}")
    folder = layout.functions_dir / name
    if not entrypoint.is_relative_to(folder):
        folder = entrypoint.parent
    return Candidate(name, folder, entrypoint, language)


def _of_file(layout: Layout, file: Path) -> Candidate:
    language = BY_SUFFIX.get(file.suffix)
    if language is None:
        raise ConfigError(f"{layout.shown(file)}: is not a function: it does not end in {', '.join(BY_SUFFIX)}")
    name = file.stem
    if (name == "index" or file.name == "main.py") and NAME.fullmatch(file.parent.name):
        name = file.parent.name
    if not NAME.fullmatch(name):
        raise ConfigError(f"{layout.shown(file)}: gives no valid name: {NAME_RULE}; rename the file")
    return Candidate(name, file.parent, file, language)

"""Finds the user's own files that a Python function is made of, as far as its import statements tell."""

import ast
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from outlast.config.files import resolved


def find(entrypoint: Path, roots: Sequence[Path]) -> frozenset[Path]:
    """The files that ``entrypoint`` imports, including itself, links resolved.

    ``roots``: where Python will look for them. Raises SyntaxError if the entrypoint is not Python; errors in other
    files come out when they are imported.
    """
    found: set[Path] = set()
    open_files = [resolved(entrypoint)]
    while open_files:
        file = open_files.pop()
        if file in found:
            continue
        found.add(file)
        try:
            tree = ast.parse(file.read_bytes(), str(file))
        except (OSError, SyntaxError, ValueError):
            if len(found) == 1:
                raise
            continue
        open_files.extend(map(resolved, _imported(tree, file, roots)))
    return frozenset(found)


def _imported(tree: ast.Module, file: Path, roots: Sequence[Path]) -> Iterator[Path]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _files(roots, alias.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            bases = [file.parents[node.level - 1]] if 0 < node.level <= len(file.parents) else roots
            parts = node.module.split(".") if node.module else []
            yield from _files(bases, parts)
            for alias in node.names:
                # It may be a name in that module, or a module itself.
                yield from _files(bases, [*parts, alias.name])


def _files(bases: Iterable[Path], parts: Sequence[str]) -> Iterator[Path]:
    """The module's file, and those of its parent packages."""
    for base in bases:
        for depth in range(len(parts) + 1):
            package = base.joinpath(*parts[:depth])
            module = package.with_name(f"{package.name}.py") if depth else package
            for candidate in (package / "__init__.py", module):
                if candidate.is_file():
                    yield candidate

"""The libraries that Outlast needs inside a Python worker, and where they are."""

import importlib.metadata
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_MODULES = {
    "httptools": "httptools",
    "msgspec": "msgspec",
    "python-multipart": "python_multipart",
    "starlette": "starlette",
    "uvicorn": "uvicorn",
    "uvloop": "uvloop",
    "websockets": "websockets",
}
"""What each distribution is imported as."""


def folders() -> list[str]:
    """The folders in which this process finds them, for the path of a bare interpreter of the same version."""
    modules = ("outlast", *_MODULES.values())
    origins = [spec.origin for spec in map(importlib.util.find_spec, modules) if spec is not None]
    return [*dict.fromkeys(str(Path(origin).parents[1]) for origin in origins if origin is not None)]


def own_folder() -> str:
    """The folder in which this process finds Outlast."""
    return str(Path(__file__).parents[3])


def requirements() -> "list[Requirement]":
    """The versions of these libraries that Outlast works with."""
    from packaging.requirements import Requirement

    declared = map(Requirement, importlib.metadata.requires("outlast") or ())
    return [each for each in declared if each.name in _MODULES and each.marker is None]

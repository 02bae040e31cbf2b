"""``outlast new``"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from outlast.config import layout
from outlast.config.discovery import NAME
from outlast.core.errors import OutlastError

TEMPLATES = Path(__file__).parents[1] / "templates"


class Lang(StrEnum):
    TS = "ts"
    PY = "py"


FILES = {Lang.TS: "index.ts", Lang.PY: "main.py"}


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Letters, digits, _ and -; the first one a letter.")],
    lang: Annotated[Lang, typer.Option(help="TypeScript or Python.")],
    directory: Annotated[
        Path | None, typer.Option("--dir", help="The project.", show_default="the current folder")
    ] = None,
) -> None:
    """Begin a function: a handler, and a background task that outlasts its response."""
    if NAME.fullmatch(name) is None:
        problem = f"{name!r} is not of letters, digits, _ and -, the first one a letter"
        raise typer.BadParameter(problem, param_hint="NAME")
    folder = _functions_dir(directory if directory is not None else Path.cwd()) / name
    if folder.exists():
        raise OutlastError(f"{folder}: is there already; nothing is written over")
    text = (TEMPLATES / f"{FILES[lang]}.txt").read_text(encoding="utf-8").replace("NAME", name)
    file = folder / FILES[lang]
    try:
        folder.mkdir(parents=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutlastError(f"{error.filename}: {error.strerror}") from error
    typer.echo(f"{file}\n\nTo call it, with `outlast serve` in another terminal:\n\n  outlast invoke {name} --wait")


def _functions_dir(project: Path) -> Path:
    """Where the project's functions are, or would be."""
    found = layout.locate(project)
    is_plain_folder = found.functions_dir == found.root
    if is_plain_folder and not any(file for name in FILES.values() for file in found.root.glob(f"*/{name}")):
        return found.root / "supabase" / "functions"
    return found.functions_dir

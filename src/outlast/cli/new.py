"""``outlast new``"""

from enum import StrEnum
from pathlib import Path

import click

from outlast.cli.parameters import FILE, Word
from outlast.config import discovery, layout
from outlast.config.discovery import NAME
from outlast.core.errors import OutlastError

TEMPLATES = Path(__file__).parents[1] / "templates"


class Lang(StrEnum):
    TS = "ts"
    PY = "py"


FILES = {Lang.TS: "index.ts", Lang.PY: "main.py"}


@click.command()
@click.argument("name", metavar="NAME")
@click.option("--lang", type=Word(Lang), required=True, help="TypeScript or Python.")
@click.option("--dir", "directory", type=FILE, help="The project folder.", show_default="the current folder")
def new(name: str, lang: Lang, directory: Path | None) -> None:
    """Create a function: a handler, and a background task that outlasts its response.

    NAME: letters, digits, _ and -, beginning with a letter.
    """
    if NAME.fullmatch(name) is None:
        problem = f"{name!r} is not made of letters, digits, _ and -, beginning with a letter"
        raise click.BadParameter(problem, param_hint="NAME")
    folder = _functions_dir(directory if directory is not None else Path.cwd()) / name
    if folder.exists():
        raise OutlastError(f"{folder}: exists already; choose another name, or remove it first")
    text = (TEMPLATES / f"{FILES[lang]}.txt").read_text(encoding="utf-8").replace("NAME", name)
    file = folder / FILES[lang]
    try:
        folder.mkdir(parents=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutlastError(f"{error.filename}: {error.strerror}") from error
    click.echo(f"{file}\n\nTo call it, with `outlast serve` in another terminal:\n\n  outlast invoke {name} --wait")


def _functions_dir(project: Path) -> Path:
    """Where the project's functions are, or would be."""
    found = layout.locate(project)
    if discovery.lonely_entrypoint(found.functions_dir) is not None:
        raise OutlastError(f"{found.functions_dir}: is a function's own folder; name that of the project with --dir")
    is_plain_folder = found.functions_dir == found.root
    if is_plain_folder and not any(file for name in FILES.values() for file in found.root.glob(f"*/{name}")):
        return found.root / "supabase" / "functions"
    return found.functions_dir

"""``outlast demo``: the packaged examples, served and called, and a timeline of what came when."""

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import click

from outlast.admin.address import Address
from outlast.cli import calls
from outlast.cli.parameters import PORT_NUMBER
from outlast.config.address import PORT
from outlast.database import choice


@click.command()
@click.option("--once", is_flag=True, help="Stop when everything has been shown; exit code 1 if anything failed.")
@click.option(
    "--port", type=PORT_NUMBER, help="0: any that is free.", show_default=f"{PORT}; with --once any that is free"
)
def demo(once: bool, port: int | None) -> None:
    """Serve the packaged examples, call them, and show when each response and each background task was done."""
    # Imported here, because the help does not need them.
    import uvloop

    from outlast import app
    from outlast.cli.columns import console
    from outlast.cli.exhibit import Exhibit

    if port is None:
        port = 0 if once else PORT
    with tempfile.TemporaryDirectory(prefix="demo-outlast-") as folder:
        # A copy, because the package's folder may not be writable, and so that users can change the code.
        shutil.copytree(calls.EXAMPLES / "supabase", Path(folder, "supabase"), copy_function=shutil.copyfile)
        environ = {**os.environ, "DENO_DIR": _deno_dir(os.environ)}
        options = app.Options(
            target=Path(folder), environ=environ, port=port, admin=Address(port=0), database=choice.OFF
        )
        sys.exit(uvloop.run(Exhibit(options, calls.calls(), console(), once=once).run()))


def _deno_dir(environ: Mapping[str, str]) -> str:
    """The user's cache rather than the copy, so that only the first demo on a machine has anything to fetch."""
    if named := environ.get("DENO_DIR"):
        return named
    # The XDG base directory specification has relative paths ignored.
    cache = environ.get("XDG_CACHE_HOME", "")
    return str((Path(cache) if Path(cache).is_absolute() else Path.home() / ".cache") / "outlast" / "deno")

"""Puts the commands together."""

import sys

import typer

from outlast.cli import demo, serve
from outlast.core.errors import OutlastError

app = typer.Typer(
    help="Serve edge functions, and look after the work that outlasts their responses.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(serve.serve)
app.command()(demo.demo)


@app.callback()
def _root() -> None:
    pass


def main() -> None:
    """The ``outlast`` command. What a user can act on ends it with one line and exit code 2."""
    try:
        app()
    except OutlastError as error:
        print(f"outlast: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2)

"""Puts the commands together."""

import sys

import typer

from outlast.cli import demo, doctor, serve
from outlast.core.errors import OutlastError

# The base of all that is wrong with a command line. Which module it comes from depends on the version of typer.
_UsageError = typer.BadParameter.__mro__[1]

app = typer.Typer(
    help="Serve edge functions, and look after the work that outlasts their responses.",
    add_completion=False,
    pretty_exceptions_enable=False,
    # Plain help: boxes cut off the long names on a narrow terminal, and markup takes [edge_runtime] for a colour.
    rich_markup_mode=None,
)
app.command()(serve.serve)
app.command()(demo.demo)
app.command()(doctor.doctor)


@app.callback(invoke_without_command=True)
def _root(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


def main() -> None:
    """The ``outlast`` command. What a user can act on ends it with one line and exit code 2."""
    try:
        sys.exit(app(standalone_mode=False))
    except OutlastError as error:
        _complain(str(error))
    except typer.Abort:
        # Ctrl-C before the node has taken the signals over.
        sys.exit(130)
    except Exception as error:
        if not isinstance(error, _UsageError):
            raise
        _complain(_usage(error))


def _usage(error: Exception) -> str:
    message = " ".join(str(getattr(error, "message", error)).split()).removeprefix("Value error, ").removesuffix(".")
    hint = getattr(error, "param_hint", None) or getattr(getattr(error, "param", None), "opts", ("",))[0]
    command = getattr(getattr(error, "ctx", None), "command_path", "outlast")
    return f"{hint}: {message}; see {command} --help" if hint else f"{message}; see {command} --help"


def _complain(text: str) -> None:
    print(f"outlast: {text}", file=sys.stderr)  # noqa: T201
    sys.exit(2)

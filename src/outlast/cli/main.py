"""Puts the commands together."""

import os
import sys

import typer

from outlast.cli import demo, doctor, invoke, logs, new, ps, serve, tasks
from outlast.cli.columns import say
from outlast.cli.exits import Failed
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
app.command()(new.new)
app.command()(invoke.invoke)
app.add_typer(tasks.app, name="tasks")
app.command()(logs.logs)
app.command()(ps.ps)
app.command()(doctor.doctor)


@app.callback(invoke_without_command=True)
def _root(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


def main() -> None:
    """The ``outlast`` command. What a user can act on ends it with one line and an exit code (`outlast.cli.exits`)."""
    try:
        sys.exit(app(standalone_mode=False))
    except Failed as error:
        _complain(str(error), exit_code=1)
    except OutlastError as error:
        _complain(str(error))
    except (typer.Abort, KeyboardInterrupt):
        # Ctrl-C, of a node before it has taken the signals over.
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read has seen enough. What is left must not be written at the interpreter's end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if not isinstance(error, _UsageError):
            raise
        _complain(_usage(error))


def _usage(error: Exception) -> str:
    message = " ".join(str(getattr(error, "message", error)).split()).removeprefix("Value error, ").removesuffix(".")
    hint = getattr(error, "param_hint", None) or getattr(getattr(error, "param", None), "opts", ("",))[0]
    command = getattr(getattr(error, "ctx", None), "command_path", "outlast")
    return f"{hint}: {message}; see {command} --help" if hint else f"{message}; see {command} --help"


def _complain(text: str, exit_code: int = 2) -> None:
    say(text)
    sys.exit(exit_code)

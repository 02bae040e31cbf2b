"""Puts the commands together."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module

import typer

from outlast.cli.exits import Failed
from outlast.cli.lines import say
from outlast.core.errors import OutlastError

# The base of all that is wrong with a command line. Which module it comes from depends on the version of typer.
_UsageError = typer.BadParameter.__mro__[1]

COMMANDS = ("serve", "demo", "new", "invoke", "tasks", "logs", "ps", "doctor")
"""Each a module of this name, with a function of this name, or a `GROUP` of commands. In the order of the help."""


def assembled(names: Sequence[str] = COMMANDS) -> typer.Typer:
    """The commands of these names, which alone are imported."""
    app = typer.Typer(
        help="Serve edge functions, and look after the work that outlasts their responses.",
        add_completion=False,
        pretty_exceptions_enable=False,
        # Plain help: boxes cut off the long names on a narrow terminal, and markup takes [edge_runtime] for a colour.
        rich_markup_mode=None,
    )
    app.callback(invoke_without_command=True)(_root)
    for name in names:
        module = import_module(f"outlast.cli.{name}")
        if (group := getattr(module, "GROUP", None)) is not None:
            app.add_typer(group, name=name)
        else:
            app.command()(getattr(module, name))
    return app


def _root(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


def main() -> None:
    """The ``outlast`` command. What a user can act on ends it with one line and an exit code (`outlast.cli.exits`)."""
    # One that asks a node is there at once, however much those import that serve.
    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    app = assembled([asked] if asked in COMMANDS else COMMANDS)
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

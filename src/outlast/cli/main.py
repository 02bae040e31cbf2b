"""Puts the commands together."""

import errno
import io
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import click

from outlast.cli.exits import Failed
from outlast.cli.lines import say
from outlast.core.errors import OutlastError

COMMANDS = ("serve", "demo", "new", "invoke", "tasks", "logs", "ps", "doctor")
"""Each a command of this name, in a module of this name. In the order of the help."""
_UNWRITABLE = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""The last: of a terminal that was closed."""


class _Commands(click.Group):
    """Imports no command but the one that is asked for: those that ask a node need little of what a node needs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"outlast.cli.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        commands = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        with formatter.section("Commands"):
            # Whole sentences: Click's own list cuts them off.
            formatter.write_dl([(name, command.get_short_help_str(200)) for name, command in commands if command])


@click.group(
    "outlast",
    cls=_Commands,
    invoke_without_command=True,
    context_settings={"show_default": True, "help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="outlast", message="%(package)s %(version)s", help="Show the version and exit.")
@click.pass_context
def outlast(context: click.Context) -> None:
    """Serve edge functions, and look after the work that outlasts their responses."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
        context.exit(2)


def main() -> None:
    """The ``outlast`` command. What a user can act on ends it with one line and an exit code (`outlast.cli.exits`)."""
    _prepare_streams()
    try:
        _look_where_we_are()
        code: Any = outlast(prog_name="outlast", standalone_mode=False)
        sys.exit(code)
    except Failed as error:
        _complain(str(error), exit_code=1)
    except OutlastError as error:
        _complain(str(error))
    except click.UsageError as error:
        _complain(_usage(error))
    except (click.Abort, KeyboardInterrupt):
        # Ctrl-C, of a node before it has taken the signals over.
        sys.exit(130)
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        # What is left must not be written at the interpreter's end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            what = error.filename or "the output cannot be written"
            _complain(f"{what}: {error.strerror}", exit_code=1)
        # Whoever read has seen enough.
        sys.exit(1)


def _prepare_streams() -> None:
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # It is closed. In this order each gets its own number, which otherwise a socket would have.
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What it has no characters for is shown as on standard error.
        sys.stdout.reconfigure(errors="backslashreplace")


def _look_where_we_are() -> None:
    try:
        Path.cwd()
    except FileNotFoundError:
        raise OutlastError("the current folder is not there any more: change to another one (cd)") from None


def _usage(error: click.UsageError) -> str:
    message = " ".join((error.message or error.format_message()).split()).removesuffix(".")
    if isinstance(error, click.NoSuchOption) and error.possibilities:
        message += f" (did you mean {' or '.join(error.possibilities)}?)"
    command = error.ctx.command_path if error.ctx is not None else "outlast"
    text = f"{message}; see {command} --help"
    if isinstance(error, click.BadParameter) and error.message:
        hint = error.param_hint or (error.param.opts[0] if error.param is not None else "")
        return f"{hint}: {text}" if hint else text
    return text


def _complain(text: str, exit_code: int = 2) -> NoReturn:
    say(text)
    sys.exit(exit_code)

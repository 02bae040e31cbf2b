"""Options that several commands have, and types of values."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import click

from outlast.telemetry.logs import Level

Command = TypeVar("Command", bound=Callable[..., Any])

FILE = click.Path(path_type=Path)

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|min|h|d)")


class Whole(click.IntRange):
    """A whole number, with a plain message for anything else."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            to = "on" if self.max is None else f"to {self.max}"
            self.fail(f"{str(value)!r} is not a whole number from {self.min} {to}", param, ctx)


PORT_NUMBER = Whole(0, 65535)


class Word(click.Choice[StrEnum]):
    """One of a closed list, by its value."""

    def normalize_choice(self, choice: object, ctx: click.Context | None) -> str:
        return str(choice)


class Moment(click.types.StringParamType):
    """A moment in RFC 3339, which may be given as a span of time before now."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if (span := _SPAN.fullmatch(value.strip())) is not None:
            try:
                return (datetime.now(UTC) - timedelta(seconds=float(span[1]) * _UNITS[span[2]])).isoformat()
            except OverflowError:
                self.fail(f"{value!r} is too long ago", param, ctx)
        try:
            return datetime.fromisoformat(value).astimezone(UTC).isoformat()
        except (ValueError, OverflowError):
            wanted = "a span such as 10m, 2h or 1d nor a moment such as 2026-01-31T12:00:00Z"
            self.fail(f"{value!r} is neither {wanted}", param, ctx)


LEVEL = click.Choice([level.label for level in Level])


def admin_url(command: Command) -> Command:
    return click.option(
        "--admin-url",
        envvar="OUTLAST_ADMIN_URL",
        help="URL of the server's admin API.",
        show_default="of the server of the current folder's project",
        show_envvar=True,
    )(command)


def as_json(command: Command) -> Command:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")(command)

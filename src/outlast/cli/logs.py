"""``outlast logs``"""

import os
import sys
from enum import StrEnum
from typing import Annotated, Any

import typer

from outlast.cli import client
from outlast.cli.client import AdminUrl, AsJson
from outlast.cli.lines import moment, object_line, say
from outlast.telemetry.feed import KEPT_EVENTS
from outlast.telemetry.pretty import Pretty


class AtLeast(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def logs(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what happens.")] = False,
    function: Annotated[str | None, typer.Option(help="Of this function.", show_default=False)] = None,
    request: Annotated[str | None, typer.Option(help="Of the request with this id.", show_default=False)] = None,
    level: Annotated[AtLeast | None, typer.Option(help="This one or a higher one.", show_default=False)] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", help="So many of the latest.", min=0, max=KEPT_EVENTS)] = 100,
    as_json: AsJson = False,
    admin_url: AdminUrl = None,
) -> None:
    """Show what the node's log has said lately, which the node keeps whether or not its log is kept."""
    node = client.find(admin_url)
    show = _Show(as_json)
    if not follow:
        if lines:
            for event in node.get("/v1/events", function=function, request=request, level=level, limit=lines)["items"]:
                show(event)
        return
    with node.live(function=function, request=request, level=level, recent=lines) as events:
        for event in events:
            show(event)
    say("the node has ended")


class _Show:
    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._pretty = Pretty(colour=sys.stdout.isatty() and not os.environ.get("NO_COLOR"))

    def __call__(self, event: dict[str, Any]) -> None:
        if self._as_json:
            object_line(event)
        elif event["event"] == "missed":
            say(f"{event['count']} events came faster than they could be shown")
        else:
            at = moment(event.pop("ts")).timestamp()
            sys.stdout.write(self._pretty.render(at, event))
            sys.stdout.flush()

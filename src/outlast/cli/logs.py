"""``outlast logs``"""

import sys
from typing import Any

import click

from outlast.cli import client, parameters
from outlast.cli.lines import moment, object_line, say, wants_colour
from outlast.cli.parameters import LEVEL, Whole
from outlast.telemetry.feed import KEPT_EVENTS
from outlast.telemetry.pretty import Pretty


@click.command()
@click.option("--follow", "-f", is_flag=True, help="Go on with new lines, until the server ends.")
@click.option("--function", help="Only of this function.")
@click.option("--request", help="Only of the request with this id.")
@click.option("--level", type=LEVEL, help="Only this level or higher.")
@click.option("--lines", "-n", type=Whole(0, KEPT_EVENTS), default=100, help="How many of the latest lines.")
@parameters.as_json
@parameters.admin_url
def logs(
    follow: bool,
    function: str | None,
    request: str | None,
    level: str | None,
    lines: int,
    as_json: bool,
    admin_url: str | None,
) -> None:
    """Show the latest lines of the server's log, or follow it."""
    node = client.find(admin_url)
    show = _Show(as_json)
    if not follow:
        found = []
        if lines:
            found = node.get("/v1/events", function=function, request=request, level=level, limit=lines)["items"]
        if function is not None and not found:
            node.make_sure_of(function)
        for event in found:
            show(event)
        return
    if function is not None:
        node.tell_if_unknown(function)
    with node.live(function=function, request=request, level=level, recent=lines) as events:
        for event in events:
            show(event)
    say("the server has ended")


class _Show:
    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._pretty = Pretty(colour=wants_colour())

    def __call__(self, event: dict[str, Any]) -> None:
        if self._as_json:
            object_line(event)
        elif event["event"] == "missed":
            say(f"{event['count']} events came faster than they could be shown")
        else:
            at = moment(event.pop("ts")).timestamp()
            sys.stdout.write(self._pretty.render(at, event))
            sys.stdout.flush()

"""``outlast tasks`` and ``outlast tasks show``"""

from typing import Any

import click

from outlast.cli import client, parameters, story
from outlast.cli.client import Client
from outlast.cli.columns import Columns, console
from outlast.cli.exits import Failed
from outlast.cli.lines import clock, duration, object_line
from outlast.cli.parameters import Moment, Whole, Word
from outlast.core.outcome import EndReason, TaskOutcome
from outlast.ledger.ledger import MAX_LIMIT


@click.group(invoke_without_command=True)
@click.option("--function", help="Only of this function.")
@click.option("--outcome", type=Word(TaskOutcome), help="Only with this outcome.")
@click.option("--reason", type=Word(EndReason), metavar="REASON", help="Only interrupted for this reason.")
@click.option("--name", help="Only with this name.")
@click.option("--request", help="Only of the request with this id.")
@click.option("--open", "still_open", is_flag=True, help="Only those that have not settled.")
@click.option("--since", type=Moment(), help="Only started within 10m, 2h, 1d, or since a moment (RFC 3339).")
@click.option("--limit", "-n", type=Whole(min=1), default=50, help="At most this many, the newest.")
@click.option("--watch", is_flag=True, help="Then go on, with each task that settles.")
@parameters.as_json
@parameters.admin_url
@click.pass_context
def tasks(
    context: click.Context,
    function: str | None,
    outcome: TaskOutcome | None,
    reason: EndReason | None,
    name: str | None,
    request: str | None,
    still_open: bool,
    since: str | None,
    limit: int,
    watch: bool,
    as_json: bool,
    admin_url: str | None,
) -> None:
    """List background tasks and their outcomes, newest last."""
    if context.invoked_subcommand is not None:
        return
    asked: client.Params = {
        "function": function,
        "outcome": outcome,
        "reason": reason,
        "name": name,
        "request": request,
        "open": "true" if still_open else None,
        "since": since,
    }
    node = client.find(admin_url)
    listing = _Listing(as_json)
    if not watch:
        found = _latest(node, asked, limit)
        if function is not None and not found:
            node.make_sure_of(function)
        listing.begin(found)
        node.tell_what_is_wrong()
        return
    if function is not None:
        node.tell_if_unknown(function)
    with node.live(event="task", function=function, request=request) as events:
        listing.begin(_latest(node, asked, limit))
        node.tell_what_is_wrong()
        for event in events:
            if event["event"] == "task" and all(
                wanted in (None, event.get(field))
                for field, wanted in (("outcome", outcome), ("reason", reason), ("name", name))
            ):
                listing.add(node.get(f"/v1/tasks/{event['task_id']}")["task"])


@tasks.command(short_help="Show why a task ended, and what happened around it.")
@click.argument("id", metavar="[ID]", required=False)
@click.option("--function", help="Without ID: the newest such task of this function.")
@parameters.as_json
@parameters.admin_url
def show(id: str | None, function: str | None, as_json: bool, admin_url: str | None) -> None:  # noqa: A002, in the help
    """Show why a task ended: what cut it off, how to change that, and what happened around it.

    ID: the task's id; by default, the newest task that was not fulfilled.
    """
    node = client.find(admin_url)
    if id is None:
        id = _newest_unfinished(node, function)  # noqa: A001
    told = node.get(f"/v1/tasks/{client.quoted(id)}")
    if as_json:
        object_line(told)
    else:
        story.tell(told, console())


def _newest_unfinished(node: Client, function: str | None) -> str:
    """Its id: of those that have settled, but were not fulfilled. Raises `Failed`."""
    found = [
        task["id"]
        for outcome in TaskOutcome
        if outcome is not TaskOutcome.FULFILLED
        for task in node.get("/v1/tasks", outcome=outcome, function=function, limit=1)["items"]
    ]
    if not found:
        if function is not None:
            node.make_sure_of(function)
        node.tell_what_is_wrong()
        raise Failed("every task that has settled was fulfilled; those that have not: outlast tasks --open")
    # Ids sort by time.
    return str(max(found))


def _latest(node: Client, asked: client.Params, limit: int) -> list[dict[str, Any]]:
    """Newest last."""
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while len(found) < limit:
        page = node.get("/v1/tasks", **asked, cursor=cursor, limit=min(limit - len(found), MAX_LIMIT))
        found += page["items"]
        cursor = page["cursor"]
        if cursor is None:
            break
    return found[::-1]


class _Listing:
    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._columns = Columns("STARTED", "FUNCTION", "NAME", "OUTCOME", "TOOK", "ID")

    def begin(self, records: list[dict[str, Any]]) -> None:
        if self._as_json:
            for record in records:
                object_line(record)
        else:
            self._columns.show([_row(record) for record in records])

    def add(self, record: dict[str, Any]) -> None:
        if self._as_json:
            object_line(record)
        else:
            console().print(self._columns.row(_row(record)))


def _row(record: dict[str, Any]) -> tuple[str, ...]:
    took = duration(record["ms"]) if record["ms"] is not None else ""
    started, name = clock(record["started"]), record["name"] or "-"
    return started, record["function"], name, story.outcome(record), took, record["id"]

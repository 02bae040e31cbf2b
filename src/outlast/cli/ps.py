"""``outlast ps``"""

from typing import Any

import click

from outlast.cli import client, parameters
from outlast.cli.columns import Columns
from outlast.cli.lines import duration, object_line


@click.command()
@click.option("--function", help="Of this function.")
@parameters.as_json
@parameters.admin_url
def ps(function: str | None, as_json: bool, admin_url: str | None) -> None:
    """List the workers: state, age, requests and tasks, and how much of their limits they have used."""
    node = client.find(admin_url)
    if function is None:
        served = node.get("/v1/functions")["items"]
    else:
        served = [node.get(f"/v1/functions/{client.quoted(function)}")]
    if as_json:
        for one in served:
            for worker in one["workers"]:
                object_line(worker)
        return
    rows = [_row(worker) for one in served for worker in one["workers"]]
    rows += [(one["name"], "none") + ("",) * 7 for one in served if not one["workers"]]
    titles = ("FUNCTION", "STATE", "AGE", "REQUESTS", "TASKS", "CPU", "MEMORY", "WALL CLOCK", "ID")
    Columns(*titles).show(sorted(rows))


def _row(worker: dict[str, Any]) -> tuple[str, ...]:
    state = "stuck" if worker["is_stuck"] else str(worker["state"])
    # A worker on standby, or starting, is not measured yet.
    memory, limit = f"{worker['memory_mb'] or '-'} MiB", worker["memory_limit_mb"]
    return (
        worker["function"],
        state if worker["is_current"] else f"{state} (old code)",
        duration(worker["age_ms"]),
        str(worker["requests"]),
        str(worker["open_tasks"]),
        _of(worker["cpu_ms"], worker["cpu_limit_ms"]),
        f"{memory} of {limit}" if limit else memory,
        _of(worker["wall_ms"], worker["wall_limit_ms"]),
        worker["id"],
    )


def _of(used_ms: int, limit_ms: int) -> str:
    return f"{duration(used_ms)} of {duration(limit_ms)}" if limit_ms else duration(used_ms)

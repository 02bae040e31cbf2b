"""``outlast doctor``"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from outlast.cli import parameters
from outlast.cli.parameters import FILE

if TYPE_CHECKING:
    from outlast.cli.findings import Finding


@click.command()
@click.argument("directory", metavar="[DIR]", type=FILE, required=False)
@parameters.as_json
def doctor(directory: Path | None, as_json: bool) -> None:
    """Check the sandbox of this machine, the installed versions, and whether the project can be served.

    DIR: the project to check; by default that of the current folder, if there is one.

    Exit code 1 if something important is missing: a layer of the sandbox, Deno, uv, a project that can be read, or
    a folder to keep its .outlast in. What is marked "note" does not count.
    """
    # The help has no use for them.
    from outlast.cli import findings

    found = findings.all_of(directory)
    for finding in found:
        click.echo(json.dumps(asdict(finding)) if as_json else _line(finding))
    sys.exit(any(finding.state is findings.State.MISSING for finding in found))


def _line(finding: "Finding") -> str:
    return f"{finding.state:<8} {finding.about:<8} {finding.name:<17} {finding.detail}"

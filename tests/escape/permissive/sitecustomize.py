"""A node with this on its path grants every permission that Deno has: what holds functions then is what lies behind."""

from dataclasses import replace
from pathlib import Path

from outlast.engines.deno.engine import DenoProgram
from outlast.engines.processes import Command

as_it_is = DenoProgram.command


def command(self: DenoProgram, folder: Path, execution_id: str) -> Command:
    made = as_it_is(self, folder, execution_id)
    deno, run, *others = made.argv
    kept = [argument for argument in others if not argument.startswith("--allow-")]
    assert kept != others
    return replace(made, argv=[deno, run, "--allow-all", *kept])


DenoProgram.command = command  # type: ignore[method-assign]

"""What `outlast demo` calls."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

EXAMPLES = Path(__file__).parents[1] / "examples"


class Call(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of ``examples/calls.toml``, which says what the fields mean."""

    function: str
    shows: str
    query: str = ""
    tasks: tuple[str, ...] = ()
    tasks_at_exit: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        return f"/functions/v1/{self.function}" + (f"?{self.query}" if self.query else "")


class _Calls(msgspec.Struct, frozen=True):
    call: tuple[Call, ...]


def calls() -> Sequence[Call]:
    """What the demo calls, in order."""
    return msgspec.toml.decode((EXAMPLES / "calls.toml").read_bytes(), type=_Calls).call

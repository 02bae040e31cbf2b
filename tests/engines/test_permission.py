"""What Deno is told that a function may read."""

from pathlib import Path

import pytest

from outlast.engines.deno.engine import permission
from outlast.engines.deno.prepare import PrepareError


def test_paths_are_named_one_by_one() -> None:
    assert permission([Path("/a b/ä"), Path("/c#d")]) == "/a b/ä,/c#d"


def test_a_path_that_deno_cannot_be_told_of_is_refused_by_name() -> None:
    with pytest.raises(PrepareError, match=r"/plans, old/index\.ts: holds a comma"):
        permission([Path("/fine"), Path("/plans, old/index.ts")])

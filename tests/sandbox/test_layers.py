"""What is said of kernels other than this one."""

import pytest

from outlast.sandbox import layers


@pytest.mark.parametrize(
    ("version", "missing"),
    [
        (1, ("truncation", "TCP", "signals")),
        (3, ("TCP", "signals")),
        (4, ("signals",)),
        (6, ()),
        (9, ()),
        (12, ()),
    ],
)
def test_versions_of_landlock(version: int, missing: tuple[str, ...]) -> None:
    layer = layers._landlock(version)
    assert layer.active
    assert layer.name == f"landlock-{min(version, 9)}"
    assert bool(layer.reason) == bool(missing)
    for words in ("truncation", "TCP", "signals"):
        assert (words in layer.reason) == (words in missing)


def test_no_landlock() -> None:
    layer = layers._landlock("there is none")
    assert (layer.active, layer.name, layer.reason) == (False, "landlock", "there is none")


def test_another_system() -> None:
    found = layers._elsewhere()
    assert found.for_walls == ["rlimits"]
    assert found.for_people == ["deno-permissions", "rlimits"]
    (landlock,) = found.lacking
    assert "TypeScript is held by Deno's permissions alone, Python not" in landlock.reason

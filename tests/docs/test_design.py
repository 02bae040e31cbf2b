"""docs/design.md and the README name what is there."""

import re
import typing
from pathlib import Path

import pytest

from outlast.wire import messages

ROOT = Path(__file__).parents[2]
DESIGN = (ROOT / "docs" / "design.md").read_text()
EXAMPLES = ROOT / "src" / "outlast" / "examples" / "supabase" / "functions"


def test_the_messages_are_those_of_the_control_channel() -> None:
    documented = set(re.findall(r"^\| `(\w+)` \| (node|worker) \|", DESIGN, re.MULTILINE))
    defined = {
        (kind.__struct_config__.tag, side)
        for side, union in (("node", messages.ToWorker), ("worker", messages.FromWorker))
        for kind in typing.get_args(union)
    }
    assert documented == defined


def test_the_files_are_there() -> None:
    tree = DESIGN[DESIGN.index("src/outlast/\n") : DESIGN.index("### Who may import whom")]
    folder = ""
    for line in tree.splitlines()[1:]:
        if found := re.match(r"  (\w+)/ ", line):
            folder = found[1]
            assert (ROOT / "src" / "outlast" / folder).is_dir()
        for name in re.findall(r"(\w+\.py)\b", line):
            own = list((ROOT / "src" / "outlast" / folder).rglob(name))
            assert own or (ROOT / "src" / "outlast" / name).exists(), f"{folder}: {name}"


@pytest.mark.parametrize(
    "part", ["admin", "config", "core", "database", "gateway", "ledger", "supervisor", "telemetry", "wire"]
)
def test_every_module_is_named_in_its_part(part: str) -> None:
    modules = {path.name for path in (ROOT / "src" / "outlast" / part).glob("[!_]*.py")}
    said = re.search(rf"^  {part}/ .*\n(?:   .*\n)*", DESIGN, re.MULTILINE)
    assert said is not None
    assert set(re.findall(r"\w+\.py\b", said[0])) == modules


def test_the_python_functions_in_the_readme_are_a_packaged_example_and_one_that_is_served_in_the_tests() -> None:
    own, fastapi = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert own == (EXAMPLES / "python-task" / "main.py").read_text()
    assert fastapi == (ROOT / "tests" / "behaviour" / "functions" / "welcome" / "main.py").read_text()

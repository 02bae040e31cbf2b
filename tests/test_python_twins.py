"""The Python twins of the documents' snippets as plain modules: typed, and good for a unit test.

Served, they are observed by ``behaviour/test_seed_functions.py``, as their TypeScript originals are.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.types import strictly_checked

TWINS = Path(__file__).parents[1] / "examples/python"
NAMES = sorted(path.parent.name for path in TWINS.glob("*/main.py"))

AS_A_UNIT_TEST = """
import asyncio, importlib.util, json, sys
from outlast import Request

async def answers(file):
    # The top level of some of them starts a task, and the handlers of others.
    spec = importlib.util.spec_from_file_location("twin", file)
    twin = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(twin)
    request = Request.make("http://test/twin", method="POST", body=json.dumps({"imageData": "pixels"}))
    response = await twin.handler(request)
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    ends = await asyncio.gather(*rest, return_exceptions=True)
    return [response.status, response.body.decode(), [str(end) for end in ends if end is not None]]

print("ANSWERS", json.dumps([asyncio.run(answers(file)) for file in sys.argv[1:]]))
"""


def test_each_answers_and_works_without_a_server() -> None:
    done = subprocess.run(
        [sys.executable, "-c", AS_A_UNIT_TEST, *(str(TWINS / name / "main.py") for name in NAMES)],
        env={**os.environ, "PYTHONPATH": str(TWINS), "WORK_MS": "0", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("ANSWERS ")]
    for name, (status, body, failures) in zip(NAMES, json.loads(line.removeprefix("ANSWERS ")), strict=True):
        assert status == 200, name
        assert body == "ok" or json.loads(body), name
        fails = name in ("guide-unhandledrejection", "practices-unhandled-rejection")
        assert failures == (["the long-running task failed"] if fails else []), name
    assert done.stdout.count(": started") == done.stdout.count(": ended") >= len(NAMES)


def test_their_types_are_strict(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    shutil.copytree(TWINS / "_shared", tmp_path / "_shared", ignore=shutil.ignore_patterns("__pycache__"))
    for name in NAMES:
        shutil.copy(TWINS / name / "main.py", tmp_path / f"{name.replace('-', '_')}.py")
    found = strictly_checked(tmp_path, "--explicit-package-bases", ".")
    assert found == f"Success: no issues found in {len(NAMES) + 1} source files\n"

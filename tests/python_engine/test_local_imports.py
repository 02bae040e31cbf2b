"""Which files a function is made of."""

from pathlib import Path

import pytest

from outlast.engines.python.local_imports import find


@pytest.fixture
def functions(tmp_path: Path) -> Path:
    for name in (
        "hello/main.py",
        "hello/helper.py",
        "hello/unused.py",
        "hello/package/__init__.py",
        "hello/package/inner.py",
        "hello/package/deeper/__init__.py",
        "hello/package/deeper/leaf.py",
        "_shared/__init__.py",
        "_shared/cors.py",
        "_shared/both.py",
        "other/main.py",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({}, []),
        ({"hello/main.py": "import json, helper"}, ["hello/helper.py"]),
        ({"hello/main.py": "def later():\n    from helper import x"}, ["hello/helper.py"]),
        (
            {"hello/main.py": "import package.deeper.leaf as leaf"},
            ["hello/package/__init__.py", "hello/package/deeper/__init__.py", "hello/package/deeper/leaf.py"],
        ),
        (
            {"hello/main.py": "from package import inner", "hello/package/inner.py": "from .deeper import leaf"},
            [
                "hello/package/__init__.py",
                "hello/package/inner.py",
                "hello/package/deeper/__init__.py",
                "hello/package/deeper/leaf.py",
            ],
        ),
        (
            {"hello/main.py": "from _shared import cors", "_shared/cors.py": "from . import both"},
            ["_shared/__init__.py", "_shared/cors.py", "_shared/both.py"],
        ),
        # In a circle, and what is not there or is no Python.
        ({"hello/main.py": "import helper", "hello/helper.py": "import main, absent, wrong"}, ["hello/helper.py"]),
        ({"hello/main.py": "import wrong, helper", "hello/wrong.py": "def"}, ["hello/helper.py", "hello/wrong.py"]),
        ({"hello/main.py": "from .... import x\nfrom . import helper"}, ["hello/helper.py"]),
    ],
)
def test_what_is_found(functions: Path, files: dict[str, str], found: list[str]) -> None:
    for name, text in files.items():
        (functions / name).write_text(text)
    main = functions / "hello" / "main.py"
    assert find(main, [main.parent, functions]) == {main, *(functions / name for name in found)}


def test_through_links(functions: Path, tmp_path: Path) -> None:
    (functions / "linked").symlink_to(functions / "hello")
    (functions / "hello" / "main.py").write_text("import helper")
    main = functions / "linked" / "main.py"
    assert find(main, [main.parent]) == {functions / "hello" / "main.py", functions / "hello" / "helper.py"}


def test_an_entrypoint_that_is_no_python(functions: Path) -> None:
    main = functions / "hello" / "main.py"
    main.write_text("def (:")
    with pytest.raises(SyntaxError):
        find(main, [main.parent])

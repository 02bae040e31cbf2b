"""What a function asks for, and when that is another environment than before."""

from collections.abc import Callable

import pytest
from tests.python_engine.conftest import script

from outlast.config.settings import FunctionSettings
from outlast.engines.python.requirements import RequirementsError, read

Make = Callable[..., FunctionSettings]
PROJECT = '[project]\nname = "x"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = ["httpx"]\n'


@pytest.mark.parametrize(
    ("files", "source", "packages", "python"),
    [
        ({"main.py": "import json\n"}, None, False, ""),
        ({"main.py": script("httpx")}, "main.py", True, ""),
        ({"main.py": script(python=">=3.12")}, "main.py", False, ">=3.12"),
        ({"main.py": "#!/usr/bin/env python\n\n" + script("httpx") + "\nimport httpx\n"}, "main.py", True, ""),
        ({"main.py": script("httpx").replace("\n", "\r\n")}, "main.py", True, ""),
        ({"main.py": "\ufeff" + script("httpx")}, "main.py", True, ""),
        # Another kind of block, a block without an end, a block inside of a text.
        ({"main.py": script("httpx").replace("script", "other")}, None, False, ""),
        ({"main.py": script("httpx").rpartition("# ///")[0]}, None, False, ""),
        ({"main.py": 'text = """\n ' + script("httpx").replace("\n", "\n ") + '"""\n'}, None, False, ""),
        ({"requirements.txt": "httpx\n"}, "requirements.txt", True, ""),
        ({"requirements.txt": "# nothing\n\n"}, "requirements.txt", False, ""),
        ({"pyproject.toml": PROJECT}, "pyproject.toml", True, ">=3.11"),
        ({"pyproject.toml": "[tool.ruff]\n"}, None, False, ""),
        ({"pyproject.toml": '[project]\nname = "x"\ndynamic = ["dependencies"]\n'}, "pyproject.toml", True, ""),
        # What is nearest to the code counts.
        ({"main.py": script("a"), "requirements.txt": "b", "pyproject.toml": PROJECT}, "main.py", True, ""),
        ({"requirements.txt": "b", "pyproject.toml": PROJECT}, "requirements.txt", True, ""),
    ],
)
def test_where_it_is_said(
    function: Make, files: dict[str, str], source: str | None, packages: bool, python: str
) -> None:
    found = read(function(files))
    if source is None:
        assert found is None
    else:
        assert found is not None
        assert (found.source.name, found.packages, str(found.python)) == (source, packages, python)


def test_beside_an_entrypoint_that_lies_deeper(function: Make) -> None:
    made = function({"src/main.py": "", "requirements.txt": "a", "src/requirements.txt": "b"})
    deeper = function(entrypoint=made.folder / "src" / "main.py")
    found = read(deeper)
    assert found is not None
    assert found.source == made.folder / "src" / "requirements.txt"
    found.source.unlink()
    found = read(deeper)
    assert found is not None
    assert found.source == made.folder / "requirements.txt"


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({"main.py": script("a") + "\n" + script("b")}, "more than one # /// script block; keep one of them"),
        ({"main.py": "# /// script\n# dependencies = [\n# ///\n"}, "its # /// script block cannot be read: "),
        ({"main.py": script(python="three")}, "requires-python is not a version specifier"),
        (
            {"main.py": "# /// script\n# requires-python = 3.12\n# ///\n"},
            "Expected `str`, got `float` - at `$.requires-python`",
        ),
        (
            {"main.py": "# /// script\n# dependencies = 'httpx'\n# ///\n"},
            "Expected `array`, got `str` - at `$.dependencies`",
        ),
        ({"pyproject.toml": "[project"}, "it cannot be read: "),
        ({"pyproject.toml": "project = 1"}, "Expected `object.*` - at `$.project`"),
        ({"pyproject.toml": PROJECT + "[tool]\nuv = 1"}, "Expected `object`, got `int` - at `$.tool.uv`"),
    ],
)
def test_what_cannot_be_read(function: Make, files: dict[str, str], text: str) -> None:
    made = function(files)
    with pytest.raises(RequirementsError, match=text.replace("$", "[$]")) as caught:
        read(made)
    assert str(caught.value).startswith(f"{made.folder}/")


BEFORE = {
    "main.py": script("httpx"),
    "requirements.txt": "a\n-r more.txt\n",
    "more.txt": "b\n",
    "pyproject.toml": PROJECT,
}


@pytest.mark.parametrize(
    ("used", "file", "text", "another"),
    [
        ("main.py", "main.py", script("httpx") + "\nprint(1)\n", False),
        ("main.py", "main.py", script("httpx", more="# a comment"), False),
        ("main.py", "main.py", script("httpx==1"), True),
        ("main.py", "main.py", script("httpx", python=">=3.11"), True),
        ("main.py", "main.py", script("httpx", more="[tool.uv]\nindex-url = 'http://other'"), True),
        ("main.py", "main.py.lock", "version = 1", True),
        ("main.py", "requirements.txt", "c", False),
        ("requirements.txt", "requirements.txt", "a # why\n\n-r more.txt", False),
        ("requirements.txt", "requirements.txt", "-r more.txt\na", True),
        ("requirements.txt", "more.txt", "c", True),
        ("pyproject.toml", "pyproject.toml", PROJECT + "[tool.ruff]\nline-length = 1\n", False),
        ("pyproject.toml", "pyproject.toml", PROJECT.replace("httpx", "httpx[http2]"), True),
        ("pyproject.toml", "uv.lock", "version = 1", True),
    ],
)
def test_when_it_is_another_environment(function: Make, used: str, file: str, text: str, another: bool) -> None:
    order = ["main.py", "requirements.txt", "pyproject.toml"]
    files = {name: content for name, content in BEFORE.items() if name not in order or name == used}
    before = read(function(files))
    after = read(function({**files, file: text}))
    assert before is not None
    assert after is not None
    assert (before.key() != after.key()) is another


def test_the_same_elsewhere_is_the_same_environment(function: Make) -> None:
    one, two = (read(function({"main.py": script("httpx")}, name)) for name in ("one", "two"))
    assert one is not None
    assert two is not None
    assert one.key() == two.key()
    assert one.key("3.11") != one.key("3.12")


@pytest.mark.parametrize("line", ["./lib", "-e ../lib", "lib @ file:///lib", "-r ../all.txt"])
def test_but_not_where_it_names_what_lies_beside_it(function: Make, line: str) -> None:
    not_shared(function, {"requirements.txt": line})


@pytest.mark.parametrize("index", ["{ url = 'wheels' }", "{ name = 'near', url = 'our wheels' }"])
def test_nor_where_an_index_lies_beside_it(function: Make, index: str) -> None:
    not_shared(function, {"main.py": script("httpx", more=f"[tool.uv]\nindex = [{index}]")})


def not_shared(function: Make, files: dict[str, str]) -> None:
    one, two = (read(function(files, name)) for name in ("one", "two"))
    assert one is not None
    assert two is not None
    assert one.key() != two.key()

"""``.env`` files: what is taken from a line, and what a mistake is called."""

from pathlib import Path

import pytest

from outlast.config import dotenv_file
from outlast.config.errors import ConfigError


def values(tmp_path: Path, text: str) -> dict[str, str]:
    (tmp_path / ".env").write_bytes(text.encode())
    content = dotenv_file.read(tmp_path / ".env", ".env")
    assert content is not None
    return {name: variable.value for name, variable in content.variables.items()}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A=b c", "b c"),
        ("A = b # comment", "b"),
        ("A=b#c", "b#c"),
        ("A=", ""),
        ("export A=b", "b"),
        ("A='b # c'", "b # c"),
        ('A="b\\nc"', "b\nc"),
        ('A="b\nc"', "b\nc"),
        ("A='b\\nc'", "b\\nc"),
        ("A=b\r\n", "b"),
        ("\ufeffA=b", "b"),
        ("A=1\nA=2", "2"),
        ("A=é", "é"),
    ],
)
def test_the_value_of_a_line(tmp_path: Path, text: str, value: str) -> None:
    assert values(tmp_path, text) == {"A": value}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A=x${B}y", "xby"),
        ("A=x$B", "xb"),
        ('A="$B-${B}"', "b-b"),
        ("A='$B${B}'", "$B${B}"),
        ("export A='$B'", "$B"),
        ("A=\\$B", "$B"),
        ("A=$2a$10$hash", "$2a$10$hash"),
        ("A=$(date)", "$(date)"),
        ("A=cost$", "cost$"),
    ],
)
def test_expansion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, value: str) -> None:
    monkeypatch.setenv("B", "the process's own")
    assert values(tmp_path, f"B=b\n{text}\n")["A"] == value


def test_a_name_that_is_not_set_expands_to_nothing_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATER", "the process's own")
    (tmp_path / ".env").write_text("\n\nA=x$LATER\nLATER=1\n")
    content = dotenv_file.read(tmp_path / ".env", "conf/.env")
    assert content == dotenv_file.DotenvFile(
        {"A": dotenv_file.Variable("x", 3), "LATER": dotenv_file.Variable("1", 4)},
        (
            "conf/.env:3: A: $LATER is not set further up in this file: left empty;"
            " single quotes around the value keep it as it is",
        ),
    )


@pytest.mark.parametrize("line", ["JUST_A_NAME", "A: b", "A='b' c", "A='b", "=b"])
def test_a_line_that_means_nothing(tmp_path: Path, line: str) -> None:
    (tmp_path / ".env").write_text(f"# first\nOK=1\n\n{line}\n")
    with pytest.raises(ConfigError) as caught:
        dotenv_file.read(tmp_path / ".env", ".env")
    assert str(caught.value) == ".env:4: is not of the form NAME=value"


def test_no_file(tmp_path: Path) -> None:
    assert dotenv_file.read(tmp_path / ".env", ".env") is None


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"A=\xff\n")
    with pytest.raises(ConfigError) as caught:
        dotenv_file.read(tmp_path / ".env", ".env")
    assert str(caught.value) == ".env: is not UTF-8 text; save it as UTF-8"


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        dotenv_file.read(tmp_path, ".env")
    assert str(caught.value) == ".env: cannot be read: Is a directory"


class TestEnvironment:
    """The order in which ``env(NAME)`` looks, that of Supabase's CLI."""

    def environment(self, root: Path, **environ: str) -> dotenv_file.Environment:
        return dotenv_file.Environment(environ, (root / "supabase", root), lambda path: str(path.relative_to(root)))

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        (tmp_path / "supabase").mkdir()
        for place in ("supabase", "."):
            for name in (".env.development.local", ".env.local", ".env.development", ".env", ".env.test"):
                (tmp_path / place / name).write_text(f"X={place}/{name}\n")
        return tmp_path

    def test_the_process_comes_first_and_keeps_the_files_unread(self, root: Path) -> None:
        (root / "supabase/.env").write_text("broken")
        environment = self.environment(root, X="process")
        assert environment.get("X") == "process"
        assert environment.consulted == []

    def test_the_order_of_the_files(self, root: Path) -> None:
        order = []
        while (value := self.environment(root, X="").get("X")) is not None:
            order.append(value)
            (root / value).unlink()
        names = [".env.development.local", ".env.local", ".env.development", ".env"]
        assert order == [f"supabase/{name}" for name in names] + [f"./{name}" for name in names]

    def test_another_stage(self, root: Path) -> None:
        environment = self.environment(root, SUPABASE_ENV="test")
        assert environment.get("X") == "supabase/.env.test"
        assert [str(path.relative_to(root)) for path in environment.consulted] == [
            "supabase/.env.test.local",
            "supabase/.env.test",
            "supabase/.env",
            ".env.test.local",
            ".env.test",
            ".env",
        ]

    def test_an_empty_value_counts_as_not_set(self, tmp_path: Path) -> None:
        (tmp_path / ".env").write_text("X=\n")
        assert self.environment(tmp_path).get("X") is None

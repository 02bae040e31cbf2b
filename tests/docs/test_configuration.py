"""docs/configuration.md names what the code reads: no more, no less, and with the same defaults."""

import re
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import click
import msgspec
import pytest

from outlast.cli.main import COMMANDS, outlast
from outlast.config import auth, settings
from outlast.config.settings import Project
from outlast.config.toml_file import Section
from outlast.core.balance import Scale
from outlast.core.limits import Limits
from outlast.core.policy import OneshotBackground
from outlast.engines.deno.engine import DENO_SETTINGS

TEXT = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
CLI = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()

API_KEYS = "".join(f'{key} = "env(UNSET)"\n' for key in auth.KEYS if key.endswith("_key"))
CONFIG = f"""
[auth]
{API_KEYS}
[edge_runtime.secrets]
TOKEN = "env(UNSET)"
[functions.hello]
entrypoint = "functions/hello/index.ts"
[functions.hello.env]
PLACE = "here"
"""


def table(heading: str, column: int = 1, text: str = TEXT) -> dict[str, str]:
    """First column to another one (both without their backticks), of the first table below a heading."""
    part = re.split(rf"^#+ {re.escape(heading)}$", text, flags=re.MULTILINE)[1]
    rows = re.search(r"^\|[^\n]*\n\| ---[^\n]*\n((?:\|[^\n]*\n)+)", part, re.MULTILINE)
    assert rows is not None
    cells = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows[1].splitlines()]
    return {row[0].strip("`"): row[column].strip("`") for row in cells}


class Environ(dict[str, str]):
    """Remembers what was asked for."""

    def __init__(self, **values: str) -> None:
        super().__init__(values)
        self.asked: set[str] = set()

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
        self.asked.add(name)
        return super().get(name, default)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, dict[str, object]]]:
    """What is read of each TOML file: dotted key to default, where the code names one."""
    found: dict[str, dict[str, object]] = {}

    def recording(method: Callable[..., object], name: str) -> Callable[..., object]:
        def wrapper(section: Section, key: str, *arguments: object, **named: object) -> object:
            path = [*section.path, "NAME" if name == "secret" and section.path != ("auth",) else key]
            if path[0] == "functions":
                path[1] = "NAME"
            found.setdefault(Path(section.document.shown).name, {})[".".join(path)] = named.get("default")
            return method(section, key, *arguments, **named)

        return wrapper

    for name in ("flag", "number", "text", "texts", "choice", "secret"):
        monkeypatch.setattr(Section, name, recording(getattr(Section, name), name))
    yield found


def load(folder: Path, environ: Environ) -> Project:
    functions = folder / "supabase" / "functions"
    (functions / "hello").mkdir(parents=True)
    (functions / "hello" / "index.ts").touch()
    (folder / "supabase" / "config.toml").write_text(CONFIG)
    (folder / "supabase" / "outlast.toml").write_text("[functions.hello]\n")
    return settings.load(folder, environ=environ)


def shown(default: object) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)


def test_keys_of_config_toml(tmp_path: Path, read: dict[str, dict[str, object]]) -> None:
    project = load(tmp_path, Environ())
    documented = table("config.toml")
    mine = {key: default for key, default in read["config.toml"].items() if not key.startswith("auth.third_party.")}
    assert documented.keys() == mine.keys()
    for key, default in mine.items():
        if default is not None:
            assert documented[key] == shown(default), key
    assert documented["edge_runtime.policy"] == project.policy


def test_keys_of_third_parties(tmp_path: Path, read: dict[str, dict[str, object]]) -> None:
    load(tmp_path, Environ())
    cells = table("Tokens of a third party").items()
    documented = {name: set(re.findall(r"\w+", keys)) - {"optional"} for name, keys in cells}
    asked = {key.rpartition(".")[0] for key in read["config.toml"] if key.startswith("auth.third_party.")}
    assert documented.keys() == asked
    for name, keys in documented.items():
        values = {"enabled": "true", "issuer_url": "'http://x'"}
        lines = "\n".join(f"{key} = {values.get(key, repr('x'))}" for key in keys)
        (tmp_path / "supabase" / "config.toml").write_text(f"[{name}]\n{lines}\n")
        settings.load(tmp_path, environ={})
        assert {key for key in read["config.toml"] if key.startswith(f"{name}.")} == {f"{name}.{key}" for key in keys}


def test_keys_of_outlast_toml(tmp_path: Path, read: dict[str, dict[str, object]]) -> None:
    load(tmp_path, Environ())
    documented, ledger = table("outlast.toml"), table("The ledger")
    mine = read["outlast.toml"]
    assert documented.keys() | ledger.keys() == {key for key in mine if not key.startswith("functions.")}
    assert {f"functions.NAME.{key}" for key in documented} == {key for key in mine if key.startswith("functions.")}


def test_defaults_of_outlast_toml(tmp_path: Path) -> None:
    function = load(tmp_path, Environ()).functions["hello"]
    defaults = {
        "oneshot_background": function.oneshot_background,
        **{f"limits.{key}": value for key, value in asdict(function.limits).items()},
        **{f"scale.{key}": value for key, value in asdict(function.scale).items()},
        **{f"log.{key}": value for key, value in asdict(function.log).items()},
    }
    assert defaults.pop("scale.max_workers") is None
    documented = table("outlast.toml")
    assert documented.pop("scale.max_workers") == "2 per CPU"
    assert documented == {key: shown(default) for key, default in defaults.items()}


def test_defaults_of_the_ledger(tmp_path: Path) -> None:
    project = load(tmp_path, Environ())
    defaults = {
        f"ledger.retain_{key}": value for key, value in msgspec.structs.asdict(project.ledger.retention).items()
    }
    defaults["ledger.requests_per_s"] = project.ledger.requests_per_s
    assert table("The ledger") == {key: shown(default) for key, default in defaults.items()}


def test_allowed_values_of_outlast_toml(tmp_path: Path) -> None:
    folder = tmp_path / "supabase"
    load(tmp_path, Environ())
    for key, allowed in (table("outlast.toml", column=2) | table("The ledger", column=2)).items():
        if key == "oneshot_background":
            assert re.findall(r"\w+", allowed) == list(OneshotBackground)
            continue
        lowest, highest = map(int, re.findall(r"\d+", allowed)[:2])
        zero = allowed.endswith(", 0")
        # 0 for the other of the two CPU limits, so that they do not contradict each other.
        other = {"limits.cpu_soft_ms": "limits.cpu_hard_ms = 0\n"}.get(key, "")
        for value in (lowest - 1, lowest, highest, highest + 1, 0):
            (folder / "outlast.toml").write_text(f"{other}{key} = {value}\n")
            if lowest <= value <= highest or (zero and value == 0):
                settings.load(tmp_path, environ={})
            else:
                with pytest.raises(settings.ConfigError, match=key):
                    settings.load(tmp_path, environ={})


def test_the_example_of_outlast_toml_is_valid(tmp_path: Path) -> None:
    load(tmp_path, Environ())
    (example,) = re.findall(r"^```toml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    (tmp_path / "supabase" / "functions" / "import").mkdir()
    (tmp_path / "supabase" / "functions" / "import" / "index.ts").touch()
    (tmp_path / "supabase" / "outlast.toml").write_text(example)
    functions = settings.load(tmp_path, environ={}).functions
    assert functions["import"].limits == Limits(request_idle_ms=600_000, cpu_hard_ms=20_000)
    assert functions["import"].scale == Scale(max_workers=1)
    assert functions["hello"].limits == Limits(request_idle_ms=60_000)


def test_variables_of_functions(tmp_path: Path) -> None:
    project = load(tmp_path, Environ(SUPABASE_DB_URL="postgres://here"))
    assert table(".env").keys() == {*project.functions["hello"].env, "SB_EXECUTION_ID"} - {"PLACE"}


def test_variables_of_the_server(tmp_path: Path) -> None:
    environ = Environ(SUPABASE_URL="http://there", SUPABASE_ANON_KEY="", SUPABASE_SERVICE_ROLE_KEY="")
    load(tmp_path, environ)
    assert table("The server's environment").keys() == {*environ.asked, "DENO_DIR", *DENO_SETTINGS} - {"UNSET"}


@pytest.mark.parametrize("command", COMMANDS)
def test_options(command: str) -> None:
    found = outlast.get_command(click.Context(outlast), command)
    assert found is not None
    defaults = found.make_context(command, [], resilient_parsing=True).params
    options = {option.opts[0]: defaults[option.name] for option in found.params if isinstance(option, click.Option)}
    documented = table(f"outlast {command}", text=TEXT + CLI)
    assert documented.keys() == options.keys()
    for name, default in options.items():
        if default not in (None, ()):
            assert documented[name] == ("off" if default is False else str(default)), name


def test_every_command_is_documented() -> None:
    assert set(re.findall(r"^#+ outlast (\w+)$", TEXT + CLI, re.MULTILINE)) == {*COMMANDS}

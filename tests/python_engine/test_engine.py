"""How a function is going to be started, and what is said of it."""

import dataclasses
import json
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.python_engine import wheels
from tests.python_engine.builder import Builder
from tests.python_engine.conftest import Zygote, script

from outlast.config.settings import FunctionSettings
from outlast.core.limits import Limits
from outlast.core.outcome import EndReason
from outlast.engines.processes import Command, Exit, Spawner
from outlast.engines.python import libraries
from outlast.engines.python.build import Environment
from outlast.engines.python.engine import PrepareError, PythonEngine
from outlast.engines.reach import Bounds
from outlast.sandbox.walls import RLIMITS

Make = Callable[..., FunctionSettings]


class Bench:
    def __init__(self, engine: PythonEngine, builder: Builder, spawner: Spawner) -> None:
        self.engine = engine
        self.builder = builder
        self.spawner = spawner
        self.said: list[str] = []


@pytest.fixture
async def bench(tmp_path: Path, zygote: Zygote) -> AsyncIterator[Bench]:
    spawner = Spawner()
    builder = Builder(tmp_path, spawner)
    engine = PythonEngine(
        zygote=zygote.spawner,
        run=spawner.run,
        state_dir=tmp_path / ".outlast",
        functions_dir=tmp_path / "functions",
        root=tmp_path,
        environ=builder.env,
        report=lambda function, text, _: bench.said.append(f"{function}: {text}"),
        layers=None,
    )
    bench = Bench(engine, builder, spawner)
    yield bench
    await engine.close()
    await spawner.close()


async def test_without_an_environment_it_is_forked(bench: Bench, function: Make, tmp_path: Path) -> None:
    made = function(env={"A": "1"})
    program = await bench.engine.prepare(made)
    command = program.command(tmp_path / "w", "execution")
    assert command.env == {"A": "1", "SB_EXECUTION_ID": "execution", "TMPDIR": str(tmp_path / "w" / "tmp")}
    assert command.cwd == made.folder
    assert command.fork is not None
    assert command.fork["environment"] is None
    assert bench.said == []


async def test_the_kernel_holds_it_to_its_limits(bench: Bench, function: Make, tmp_path: Path) -> None:
    limits = Limits(memory_mb=100, cpu_hard_ms=2000, boot_timeout_ms=30_000)
    prepared = await bench.engine.prepare(function(limits=limits))
    program = dataclasses.replace(prepared, bounds=Bounds([RLIMITS], own=[], elsewhere=[]))
    command = program.command(tmp_path / "w", "execution")
    assert command.fork is not None
    assert command.fork["memory_mb"] == 100
    assert command.walls is not None
    assert command.walls.rlimits["CPU"] == 62
    assert program.limit_reached(Exit(1, 10, 10), "MemoryError") is EndReason.MEMORY
    assert program.limit_reached(Exit(1, 10, 10), "ValueError") is None


async def test_packages_that_get_on_with_the_zygote_s_are_found_in_a_fork(
    bench: Bench, function: Make, zygote: Zygote, tmp_path: Path
) -> None:
    wheels.add(bench.builder.wheels, "alpha", "1.0")
    # Two versions, of which one is that of the zygote: it is taken, though the other is newer.
    preloaded = (await zygote.spawner.hello())["versions"]["starlette"]
    for version in (preloaded, "99.0"):
        wheels.add(bench.builder.wheels, "starlette", version)
    program = await bench.engine.prepare(function({"main.py": script("alpha", "starlette")}))
    command = program.command(tmp_path / "w", "e")
    assert command.fork is not None
    start = {**command.fork}
    start.pop("folder")
    asks = "import alpha, json; print(json.dumps(alpha.VERSION))"
    assert await zygote.ask(tmp_path / "w", asks, **start) == "1.0"


async def test_a_package_that_does_not_gets_an_interpreter_of_its_own_and_it_is_said_once(
    bench: Bench, function: Make, zygote: Zygote, tmp_path: Path
) -> None:
    preloaded = (await zygote.spawner.hello())["versions"]["starlette"]
    wheels.add(bench.builder.wheels, "starlette", "99.0")
    made = function({"main.py": script("starlette==99.0")})
    program = await bench.engine.prepare(made)
    await bench.engine.prepare(made)
    slow = "hello: every worker starts a new interpreter, which takes longer: "
    assert [text for text in bench.said if text.startswith(slow)] == [
        f"{slow}it needs starlette 99.0 (not {preloaded})"
    ]
    command = program.command(tmp_path / "w", "e")
    assert command.fork is None
    assert program.environment is not None
    assert command.argv[0] == str(program.environment.python)


async def test_a_version_that_outlast_cannot_work_with_is_refused(bench: Bench, function: Make) -> None:
    wheels.add(bench.builder.wheels, "uvicorn", "0.1")
    made = function({"main.py": script("uvicorn<0.2")})
    with pytest.raises(PrepareError, match=r"leads to uvicorn 0\.1, but Outlast itself needs uvicorn>=") as caught:
        await bench.engine.prepare(made)
    assert str(caught.value).startswith(str(made.entrypoint))


async def test_an_interpreter_of_its_own_finds_its_packages_before_ours(
    bench: Bench, function: Make, tmp_path: Path
) -> None:
    wheels.add(bench.builder.wheels, "starlette", "99.0")
    made = function({"main.py": script("starlette==99.0"), "helper.py": ""})
    command = (await bench.engine.prepare(made)).command(tmp_path / "w", "e")
    # The guest needs the real Starlette, so only what comes before it is looked at.
    program = command.argv[command.argv.index("-c") + 1].partition("from outlast")[0]
    asks = program + "import starlette, outlast, uvicorn; print(json.dumps([starlette.VERSION, sys.flags.isolated]))"
    argv = [asks if argument.startswith(program) else argument for argument in command.argv]
    result = await bench.spawner.run(Command(argv, {}, tmp_path))
    assert json.loads(result.out) == ["99.0", 1], result.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def (:\n", ":1: SyntaxError: "),
        ("if 1:\nx", ":2: IndentationError: expected an indented block"),
        ("x = '\0'", "source code string cannot contain null bytes"),
    ],
)
async def test_what_is_no_python(bench: Bench, function: Make, text: str, said: str) -> None:
    made = function({"main.py": text})
    with pytest.raises(PrepareError) as caught:
        await bench.engine.prepare(made)
    assert said in str(caught.value)
    assert str(caught.value).startswith(str(made.entrypoint))


async def test_what_concerns_it(bench: Bench, function: Make, tmp_path: Path) -> None:
    shared = tmp_path / "functions" / "_shared"
    shared.mkdir(parents=True)
    for name in ("used.py", "unused.py"):
        (shared / name).write_text("")
    program: Any = await bench.engine.prepare(function({"main.py": "from _shared import used"}))
    assert program.modules == {tmp_path / "functions" / "hello" / "main.py", shared / "used.py"}
    for name, concerned in {"used.py": True, "unused.py": False, "cors.ts": False, "data.json": True}.items():
        assert program.concerns(shared / name) is concerned, name
    assert not program.concerns(tmp_path / "functions" / "other" / "data.json")


EDITABLE = """
import pathlib, zipfile

source = pathlib.Path.cwd() / "src"
# Setuptools writes code where the packages lie beside pyproject.toml.
where = str(source) if source.is_dir() else "import os"

def build_editable(folder, config_settings=None, metadata_directory=None):
    name = "billing-1-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(folder, name), "w") as wheel:
        wheel.writestr("billing.pth", where)
        wheel.writestr("billing-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: billing\\nVersion: 1\\n")
        wheel.writestr("billing-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("billing-1.dist-info/RECORD", "")
    return name
"""


@pytest.mark.parametrize("layout", ["src", "."])
async def test_an_editable_package_concerns_it(bench: Bench, function: Make, tmp_path: Path, layout: str) -> None:
    package = tmp_path / "functions" / "_shared" / "the billing"
    source = package / layout / "billing" / "__init__.py"
    source.parent.mkdir(parents=True)
    source.write_text("")
    (package / "backend.py").write_text(EDITABLE)
    (package / "pyproject.toml").write_text(
        '[project]\nname = "billing"\nversion = "1"\n'
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    made = function({"main.py": "import billing", "requirements.txt": "-e ../_shared/the billing"})
    assert (await bench.engine.prepare(made)).concerns(source)


def test_a_path_that_is_no_text_hides_no_other(tmp_path: Path) -> None:
    environment = Environment(str(tmp_path), (3, 12), {})
    environment.site_packages.mkdir(parents=True)
    (environment.site_packages / "billing.pth").write_bytes(b"/caf\xe9\n/billing\n")
    assert Path("/billing") in environment.linked()


async def test_the_zygote_and_the_node_s_own_modules_stay_apart() -> None:
    # What the node imports to start workers must not bring with it what runs inside of them.
    spawner = Spawner()
    program = "import sys, outlast.app; print('outlast.engines.python.guest' in sys.modules)"
    path = f"import sys; sys.path += {libraries.folders()!r}; "
    result = await spawner.run(Command([sys.executable, "-I", "-c", path + program], {}, Path("/")))
    assert (result.out, result.err) == (b"False\n", b"")
    await spawner.close()

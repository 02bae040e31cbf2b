"""Packages from indexes other than PyPI: wherever they are named, whoever they are for, and when they refuse.

The default index has a package of the same name and a higher version than the private one, as an attacker would put
it there.
"""

import asyncio
import os
import re
import subprocess
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import httpx
import pytest
from tests.python_engine import registry, wheels
from tests.python_engine.builder import Builder
from tests.python_engine.conftest import script
from tests.python_engine.registry import PASSWORD, USER, Registry
from tests.support.node import Node, serving, write_project

from outlast.config.settings import FunctionSettings
from outlast.engines.python.build import EnvironmentFailed
from outlast.engines.python.indexes import Places
from outlast.engines.python.requirements import RequirementsError, read
from outlast.engines.python.uv import UV, without_secrets

Make = Callable[..., FunctionSettings]
ADA = f"{USER}:{PASSWORD}"
KEY = {"UV_INDEX_CORP_USERNAME": USER, "UV_INDEX_CORP_PASSWORD": PASSWORD}
RIGHT = {"private": "1.1", "public": "1.0"}

NAMED = '[[tool.uv.index]]\nname = "corp"\nurl = "{closed}"\n'
DEFAULT = NAMED.replace("closed", "mirror") + "default = true\n"
EXPLICIT = NAMED + 'explicit = true\n[tool.uv.sources]\nprivate = {{ index = "corp" }}\n'
PROJECT = '[project]\nname = "x"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = ["private<9"]\n'


@pytest.fixture(scope="module")
def indexes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("indexes")
    wheels.add(folder / "open", "public", "1.0")
    wheels.add(folder / "open", "private", "9.0")
    for index in ("closed", "mirror"):
        for version in ("1.0", "1.1"):
            wheels.add(folder / index, "private", version, requires=["public"])
    wheels.add(folder / "mirror", "public", "1.0")
    with registry.serving(folder) as there:
        yield there


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Shared, because it takes uv a while to examine an interpreter. What an index says is asked anew all the same."""
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def asks(builder: Builder, indexes: Registry, cache: str) -> Builder:
    """Its default index is the open one; PyPI is out of reach."""
    Path(builder.env.pop("UV_CONFIG_FILE")).unlink()
    builder.env |= {
        "UV_CACHE_DIR": cache,
        "UV_DEFAULT_INDEX": indexes.url("open"),
        "UV_HTTP_RETRIES": "0",
        "HTTPS_PROXY": "http://127.0.0.1:9",
    }
    return builder


def filled(files: Mapping[str, str], indexes: Registry) -> dict[str, str]:
    urls = {
        "closed": indexes.url("closed"),
        "closed_ada": indexes.url("closed", user=ADA),
        "closed_var": indexes.url("closed", user="${UV_CORP_USER}:${UV_CORP_TOKEN}"),
        "mirror": indexes.url("mirror"),
    }
    return {name: text.format(**urls) for name, text in files.items()}


HEADS = {
    "named": ({"main.py": script("private<9", more=NAMED)}, KEY),
    "explicit": ({"main.py": script("private", more=EXPLICIT)}, KEY),
    "default": ({"main.py": script("private", more=DEFAULT)}, {"UV_DEFAULT_INDEX": ""}),
    "extra": ({"main.py": script("private<9", more='[tool.uv]\nextra-index-url = ["{closed_ada}"]')}, {}),
}
PROJECTS = {
    "named": ({"pyproject.toml": PROJECT + NAMED}, KEY),
    "explicit": ({"pyproject.toml": PROJECT.replace("<9", "") + EXPLICIT}, KEY),
    "explicit, with credentials": (
        {"pyproject.toml": PROJECT.replace("<9", "") + EXPLICIT.replace("closed", "closed_ada")},
        {},
    ),
}
OTHERS = {
    "extra": ({"requirements.txt": "--extra-index-url {closed_ada}\nprivate<9\n"}, {}),
    "variables": (
        {"requirements.txt": "--extra-index-url {closed_var}\nprivate<9\n"},
        {"UV_CORP_USER": USER, "UV_CORP_TOKEN": PASSWORD},
    ),
    "index": ({"requirements.txt": "--index-url {mirror}\nprivate\n"}, {"UV_DEFAULT_INDEX": ""}),
    "uv.toml": ({"requirements.txt": "private<9", "uv.toml": NAMED.replace("tool.uv.", "")}, KEY),
    "the node's": ({"requirements.txt": "private<9"}, {"UV_INDEX": "corp={closed}", **KEY}),
}


SANDBOXED = ("explicit", "variables")
"""Cases of `test_within_the_sandbox`."""


@pytest.mark.parametrize(
    ("files", "env"),
    [
        pytest.param(files, env, id=f"{where}: {which}")
        for where, cases in {"head": HEADS, "project": PROJECTS, "other": OTHERS}.items()
        for which, (files, env) in cases.items()
        if which not in SANDBOXED
    ],
)
async def test_wherever_an_index_is_named(
    asks: Builder, indexes: Registry, function: Make, files: Mapping[str, str], env: Mapping[str, str]
) -> None:
    environments = asks.open(**filled(env, indexes))
    assert (await asks.provide(function(filled(files, indexes)), environments)).packages == RIGHT


async def lock(which: str, env: Mapping[str, str], *, cwd: Path) -> None:
    """To a version that is not the latest."""
    command = [UV, "lock", "--quiet", "--no-python-downloads", which, "--upgrade-package=private==1.0"]
    await asyncio.to_thread(subprocess.run, command, env=env, cwd=cwd, check=True)


@pytest.mark.parametrize(
    ("files", "env"), [HEADS["default"], HEADS["extra"], PROJECTS["named"]], ids=["default", "extra", "named"]
)
async def test_a_lock_file_knows_the_index(
    asks: Builder, indexes: Registry, function: Make, files: Mapping[str, str], env: Mapping[str, str]
) -> None:
    made = function(filled(files, indexes))
    which = f"--script={made.entrypoint}" if "main.py" in files else f"--project={made.folder}"
    more = filled(env, indexes)
    await lock(which, {**asks.env, **more}, cwd=made.folder)
    assert (await asks.provide(made, asks.open(**more))).packages == {**RIGHT, "private": "1.0"}


async def test_the_head_in_the_documentation(asks: Builder, indexes: Registry, function: Make) -> None:
    page = (Path(__file__).parents[2] / "docs" / "python-packages.md").read_text()
    (head,) = (block for block in re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S) if "tool.uv.index" in block)
    for example, real in {"https://packages.example.com/simple/": indexes.url("closed"), "billing": "private"}.items():
        assert example in head
        head = head.replace(example, real)
    assert (await asks.provide(function({"main.py": head}), asks.open(**KEY))).packages == RIGHT


@pytest.mark.parametrize(
    ("which", "variable", "env"),
    [("named", "UV_INDEX", KEY), ("default", "UV_INDEX_URL", {"UV_DEFAULT_INDEX": ""})],
)
async def test_an_index_of_the_node_comes_before_that_of_a_head(
    asks: Builder, indexes: Registry, function: Make, which: str, variable: str, env: Mapping[str, str]
) -> None:
    head = HEADS[which][0]["main.py"].replace("<9", "")
    first = asks.open(**env, **{variable: indexes.url("open")})
    assert (await asks.provide(function(filled({"main.py": head}, indexes)), first)).packages["private"] == "9.0"


BESIDE = '[[tool.uv.index]]\nname = "near"\nurl = "./our index"\n'
FLAT = EXPLICIT.replace("{closed}", "our index/private").replace("explicit", 'format = "flat"\nexplicit')


@pytest.mark.parametrize("more", [BESIDE, FLAT], ids=["in its turn", "explicit"])
async def test_an_index_in_a_folder_beside_the_head(
    asks: Builder, indexes: Registry, function: Make, more: str
) -> None:
    made = function(filled({"main.py": script("private", more=more)}, indexes))
    index = made.folder / "our index" / "private"
    wheels.add(index, "private", "1.1", requires=["public"])
    (index / "index.html").write_text(
        "<!DOCTYPE html>" + "".join(f'<a href="{x.name}">{x.name}</a>' for x in index.iterdir())
    )
    assert (await asks.provide(made)).packages == RIGHT


@pytest.mark.parametrize("key", ['format = "flat"', 'authenticate = "always"', "ignore-error-codes = [403]"])
def test_what_counts_only_for_an_explicit_index(function: Make, key: str) -> None:
    made = function({"main.py": script("private", more=NAMED + key)})
    with pytest.raises(RequirementsError) as caught:
        read(made)
    assert str(caught.value).startswith(f"{made.entrypoint}: {key}: ")
    for kept in (f"{NAMED}{key}\nexplicit = true", f'{NAMED}format = "simple"'):
        assert read(function({"main.py": script("private", more=kept)}))
    made = function({"main.py": script("private", more=NAMED + key)})
    made.entrypoint.with_name("main.py.lock").write_text("")
    assert read(made), "uv itself heeds it then"


async def test_versions_are_preferred_there_as_well(asks: Builder, indexes: Registry, function: Make) -> None:
    made = function(filled(HEADS["explicit"][0], indexes))
    found = await asks.provide(made, asks.open(**KEY), preferred={"private": "1.0"})
    assert found.packages == {**RIGHT, "private": "1.0"}


BACKEND = """
import zipfile
from pathlib import Path

def build_wheel(folder, config_settings=None, metadata_directory=None):
    with zipfile.ZipFile(Path(folder, "near-1.0-py3-none-any.whl"), "w") as wheel:
        wheel.writestr("near.py", "")
        wheel.writestr("near-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: near\\nVersion: 1.0\\n")
        wheel.writestr("near-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("near-1.0.dist-info/RECORD", "")
    return "near-1.0-py3-none-any.whl"
"""
LOCAL = {
    "near/pyproject.toml": "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n"
    "[project]\nname = 'near'\nversion = '1.0'\n",
    "near/backend.py": BACKEND,
}


async def test_a_head_names_a_package_beside_it(asks: Builder, function: Make) -> None:
    head = script("near", "public", "outlast", more='[tool.uv.sources]\nnear = { path = "./near" }')
    found = await asks.provide(function({**LOCAL, "main.py": head}))
    assert found.packages == {"near": "1.0", "public": "1.0"}


def test_a_head_names_one_of_several_packages(tmp_path: Path) -> None:
    place = {"path": "near", "marker": "python_version > '3'"}
    project = tomllib.loads(Places(sources={"near": [place]}).as_project(["near"], tmp_path))
    assert project["tool"]["uv"]["sources"] == {"near": [{**place, "path": str(tmp_path / "near")}]}


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ("[[tool.uv.index]]\nname = 'corp'", "an index has no `url`"),
        ("[tool.uv]\nindex = 'corp'", "Expected `array`, got `str` - at `$.index`"),
    ],
)
def test_an_index_that_cannot_be_read(function: Make, index: str, said: str) -> None:
    made = function({"main.py": script("private", more=index)})
    with pytest.raises(RequirementsError) as caught:
        read(made)
    assert str(caught.value) == f"{made.entrypoint}: [tool.uv] cannot be read: {said}"


async def failure(builder: Builder, made: FunctionSettings, **env: str) -> str:
    with pytest.raises(EnvironmentFailed) as caught:
        await builder.provide(made, builder.open(**env))
    assert "s3cret" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("files", "env"),
    [
        (HEADS["named"][0], {}),
        (HEADS["named"][0], {**KEY, "UV_INDEX_CORP_PASSWORD": "another-s3cret"}),
        (PROJECTS["explicit"][0], {}),
        ({"requirements.txt": OTHERS["extra"][0]["requirements.txt"].replace("ada", "var")}, {}),
    ],
)
async def test_an_index_that_wants_credentials(
    asks: Builder, indexes: Registry, function: Make, files: Mapping[str, str], env: Mapping[str, str]
) -> None:
    said = await failure(asks, function(filled(files, indexes)), **env)
    assert indexes.url("closed") in said
    assert "UV_INDEX_NAME_USERNAME and UV_INDEX_NAME_PASSWORD" in said


async def test_an_index_that_lets_nobody_in(asks: Builder, indexes: Registry, function: Make) -> None:
    barred = indexes.url("barred")
    said = await failure(asks, function({"requirements.txt": f"--extra-index-url {barred}\nprivate<9"}), **KEY)
    assert barred in said
    assert "403 Forbidden" in said
    assert "UV_INDEX_NAME_USERNAME" in said


@pytest.mark.parametrize(
    ("files", "more"),
    [
        ({"main.py": script("nowhere", more=NAMED)}, ["closed"]),
        ({"pyproject.toml": PROJECT.replace("private<9", "nowhere") + EXPLICIT}, ["closed"]),
        ({"requirements.txt": "--extra-index-url {closed_ada}\nnowhere\n"}, ["closed"]),
        ({"main.py": script("nowhere", more='[tool.uv]\nextra-index-url = ["{closed_ada}"]')}, ["closed"]),
        ({"requirements.txt": "nowhere\n"}, []),
    ],
)
async def test_what_no_index_has(
    asks: Builder, indexes: Registry, function: Make, files: Mapping[str, str], more: list[str]
) -> None:
    said = await failure(asks, function(filled(files, indexes)), **KEY)
    asked = [indexes.url(index, user="****" if "ada" in str(files) else "") for index in more]
    assert f"hint: asked were {', '.join([indexes.url('open'), *asked])}; " in said
    assert "UV_INDEX_NAME_USERNAME" in said


async def test_what_no_index_has_where_these_cannot_be_told(asks: Builder, function: Make) -> None:
    asks.fails = "--emit-index-url"
    said = await failure(asks, function({"requirements.txt": "nowhere\n"}))
    assert "nowhere was not found in the package registry" in said


async def test_an_index_that_is_not_there(asks: Builder, function: Make, unused_tcp_port: int) -> None:
    gone = f"http://{ADA}@127.0.0.1:{unused_tcp_port}/simple/"
    said = await failure(asks, function({"requirements.txt": f"--extra-index-url {gone}\nprivate\n"}))
    assert f"Failed to fetch: http://127.0.0.1:{unused_tcp_port}/simple/private/" in said
    assert "hint: see that this address is right, and can be reached from this machine" in said


async def test_what_a_build_prints_about_its_environment(asks: Builder, function: Make) -> None:
    tells = "import os\nraise SystemExit(str(dict(os.environ)))\n"
    made = function({**LOCAL, "near/backend.py": tells, "requirements.txt": "./near\n"})
    said = await failure(asks, made, UV_CORP_TOKEN="a-s3cret", **KEY)
    assert "'UV_INDEX_CORP_PASSWORD': '${UV_INDEX_CORP_PASSWORD}'" in said


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("http://ada:pass@host/simple", "http://****@host/simple"),
        ("https://token@host:8080/simple", "https://****@host:8080/simple"),
        # These are no URLs, which is when uv repeats them as they are.
        ("http://ada:p@ss@[host/simple", "http://****@[host/simple"),
        ("http://ada:pa/ss@host/simple", "http://****@host/simple"),
        ("git+https://ada:pass@host/repo@main", "git+https://****@host/repo@main"),
        ("git+http://host:3000/repo@main", "git+http://host:3000/repo@main"),
        ("x @ file:///folder/x", "x @ file:///folder/x"),
    ],
)
def test_credentials_in_urls(said: str, shown: str) -> None:
    assert without_secrets(said, {}) == shown


async def test_a_malformed_url(asks: Builder, function: Make) -> None:
    said = await failure(asks, function({"requirements.txt": f"--index-url http://{ADA}@[bad/simple\nprivate\n"}))
    assert "http://****@[bad/simple" in said


SERVES = "from importlib.metadata import version\nfrom outlast import Response, serve\n"
SERVES += "serve(lambda request: Response.json(version('private')))\n"


async def called(node: Node, function: str) -> object:
    async with httpx.AsyncClient(base_url=f"{node.url}/functions/v1", timeout=50) as client:
        return (await client.get(f"/{function}")).json()


async def version_served(node: Node, function: str) -> object:
    await node.wait_for("prepare", function=function, msg=lambda text: text.startswith("installed"), timeout=50)
    return await called(node, function)


async def test_within_the_sandbox(tmp_path: Path, indexes: Registry) -> None:
    files = {
        "head/main.py": HEADS["explicit"][0]["main.py"] + SERVES,
        "listed/main.py": SERVES,
        "listed/requirements.txt": OTHERS["variables"][0]["requirements.txt"],
        "locked/main.py": SERVES,
        "locked/pyproject.toml": PROJECTS["explicit"][0]["pyproject.toml"],
    }
    files = filled(files, indexes)
    files["unknown/main.py"] = SERVES
    files["unknown/requirements.txt"] = files["listed/requirements.txt"].replace("UV_CORP", "CORP")
    with_netrc = f'index = [{{ url = "{indexes.url("closed", host="localhost")}" }}]'
    files["netrc/main.py"] = script("private<9", more=f"[tool.uv]\n{with_netrc}") + SERVES
    folder = write_project(tmp_path / "project", files) / "supabase/functions"
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine localhost login {USER} password {PASSWORD}\n")
    env = {
        **KEY,
        "UV_CORP_USER": USER,
        "UV_CORP_TOKEN": PASSWORD,
        "CORP_USER": USER,
        "CORP_TOKEN": PASSWORD,
        "NETRC": str(netrc),
        "UV_DEFAULT_INDEX": indexes.url("open"),
        "UV_CACHE_DIR": str(tmp_path / "cache"),
    }
    await lock(f"--project={folder}/locked", {**os.environ, **env}, cwd=folder)
    async with serving(tmp_path / "project", env=env) as node:
        for function, version in {"head": "1.1", "listed": "1.1", "netrc": "1.1", "locked": "1.0"}.items():
            assert await version_served(node, function) == version
        await called(node, "unknown")
        failure = await node.wait_for("boot_failure", function="unknown")
        assert "401 Unauthorized" in failure["msg"]
        assert PASSWORD not in node.log_text()


async def test_a_netrc_at_home_is_out_of_reach_of_builds(tmp_path: Path, indexes: Registry) -> None:
    project = write_project(tmp_path / "project", filled({"head/main.py": HEADS["named"][0]["main.py"]}, indexes))
    (tmp_path / ".netrc").write_text(f"machine 127.0.0.1 login {USER} password {PASSWORD}\n")
    env = {"HOME": str(tmp_path), "UV_DEFAULT_INDEX": indexes.url("open"), "UV_CACHE_DIR": str(tmp_path / "cache")}
    async with serving(project, env=env) as node:
        await called(node, "head")
        failure = await node.wait_for("boot_failure", function="head")
        assert "NETRC, which names a file" in failure["msg"]

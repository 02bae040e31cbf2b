"""What is made for a TypeScript function before it runs."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from tests.engines.deno_worker import DENO_DIR, run

from outlast.config.settings import FunctionSettings
from outlast.core.language import Language
from outlast.engines.deno import npmrc, workspace
from outlast.engines.deno.engine import DenoEngine, DenoProgram
from outlast.engines.deno.jsonc import SettingsError
from outlast.engines.deno.prepare import PrepareError
from outlast.engines.reach import OutOfReach
from outlast.sandbox.walls import RLIMITS

TOKEN = "//npm.acme.example/:_authToken="
REGISTRY = "@acme:registry=${NPM_ACME_URL}"


@pytest.fixture
def folder(function: Callable[[str], Path]) -> Path:
    """That of a function without settings."""
    return function("Deno.serve(() => new Response())").parent


async def prepared(
    folder: Path, files: Mapping[str, str] | None = None, *, env: Mapping[str, str] | None = None, **environ: str
) -> DenoProgram:
    """``env``: the function's; ``environ``: the server's."""
    for name, text in (files or {}).items():
        (folder / name).write_text(text)

    def found(name: str) -> Path | None:
        return folder / name if (folder / name).is_file() else None

    settings = FunctionSettings(
        name="hello",
        language=Language.TYPESCRIPT,
        folder=folder,
        entrypoint=folder / "index.ts",
        verify_jwt=False,
        import_map=found("import_map.json"),
        deno_config=found("deno.json") or found("../deno.json"),
        package_json=found("package.json"),
        npmrc=found(".npmrc"),
        env=env or {},
    )
    engine = DenoEngine(
        run=run,
        state_dir=folder.parent / "state",
        functions_dir=folder.parent,
        root=folder.parent,
        environ={"DENO_DIR": str(DENO_DIR), "PATH": os.environ["PATH"], **environ},
        layers=[RLIMITS],
    )
    return await engine.prepare(settings)


async def lock_file(folder: Path, npmrc: str, **environ: str) -> str:
    return named(await prepared(folder, {".npmrc": npmrc}, **environ), "--lock").name


def named(program: DenoProgram, option: str) -> Path:
    [path] = [flag.partition("=")[2] for flag in program.prepared.flags if flag.startswith(f"{option}=")]
    return Path(path)


async def test_an_import_without_an_extension_and_what_to_do_about_it(folder: Path) -> None:
    (folder / "other.ts").write_text("export const other = 1")
    files = {"index.ts": "import { other } from './other'\nDeno.serve(() => new Response(`${other}`))"}
    with pytest.raises(PrepareError) as caught:
        await prepared(folder, files)
    assert str(caught.value).startswith("error: Module not found")
    assert """Maybe add a '.ts' extension or have "unstable": ["sloppy-imports"] in its deno.json""" in str(
        caught.value
    )
    await prepared(folder, {"deno.json": '{ "unstable": ["sloppy-imports"] }'})


async def test_data_that_lies_elsewhere_and_what_to_do_about_it(folder: Path) -> None:
    data = "import data from '../data.json' with { type: 'json' }\nDeno.serve(() => Response.json(data))"
    with pytest.raises(OutOfReach, match=r"data\.json, which is not code, .*: static_files in config.toml can name it"):
        await prepared(folder, {"index.ts": data, "../data.json": "{}"})


async def test_settings_that_speak_of_workers_start_none(folder: Path) -> None:
    files = {".npmrc": "; not of worker_threads\n", "package.json": '{ "description": "without worker_threads" }'}
    program = await prepared(folder, files)
    assert not program.prepared.uses_workers
    assert {folder / name for name in files} < program.modules


async def test_a_deno_json_concerns_it_whichever_file_has_the_names(folder: Path) -> None:
    files = {"import_map.json": '{ "imports": {} }', "deno.json": "{}"}
    assert {folder / name for name in files} < (await prepared(folder, files)).modules


async def test_what_a_lock_file_pins_counts_as_long_as_registries_are_the_same(folder: Path) -> None:
    assert await lock_file(folder, f"{TOKEN}1\n") == "deno.lock"
    at_acme = await lock_file(folder, f"{REGISTRY}\n{TOKEN}1\n", NPM_ACME_URL="https://npm.acme.example/")
    assert at_acme == await lock_file(folder, f"{TOKEN}2\n@acme:registry=https://npm.acme.example/\n")
    elsewhere = await lock_file(folder, REGISTRY, NPM_ACME_URL="https://npm.example/")
    assert len({"deno.lock", at_acme, elsewhere}) == 3


async def test_a_deno_json_of_all_functions_counts_beside_a_function_s_own_npmrc(folder: Path) -> None:
    of_all = {"../deno.json": '{ "unstable": ["kv"], "lock": false, "compilerOptions": { "jsx": "react-jsx" } }'}
    assert f"--config={folder / '../deno.json'}" in (await prepared(folder, of_all)).prepared.flags
    config = named(await prepared(folder, {".npmrc": f"{TOKEN}1\n"}), "--config")
    assert json.loads(config.read_text()) == {
        "workspace": [],
        "unstable": ["kv"],
        "compilerOptions": {"jsx": "react-jsx"},
    }
    assert config.with_name(".npmrc").read_text() == f"{TOKEN}1\n"


@pytest.mark.parametrize("place", [".", ".."])
async def test_a_lock_file_lies_beside_the_code_or_the_deno_json(folder: Path, place: str) -> None:
    specifiers, packages = {"npm:plain@1": "1.0.0"}, {"plain@1.0.0": {"integrity": "sha512-AA=="}}
    locked = json.dumps({"version": "5", "specifiers": specifiers, "npm": packages})
    program = await prepared(folder, {"../deno.json": "{}", f"{place}/deno.lock": locked})
    assert json.loads(named(program, "--lock").read_text())["specifiers"] == specifiers


async def test_a_lock_file_of_a_workspace_lies_beside_its_root(folder: Path) -> None:
    specifiers, packages = {"npm:plain@1": "1.0.0"}, {"plain@1.0.0": {"integrity": "sha512-AA=="}}
    its_own = {"dependencies": ["npm:plain@1"]}
    locked = json.dumps({"version": "5", "specifiers": specifiers, "npm": packages, "workspace": its_own})
    root = json.dumps({"workspace": [f"./{folder.name}"], "imports": {"plain": "npm:plain@1"}})
    program = await prepared(folder, {"../deno.json": root, "../deno.lock": locked, "deno.json": "{}"})
    assert json.loads(named(program, "--lock").read_text())["specifiers"] == specifiers


@pytest.mark.parametrize(("imports", "counts"), [("", True), ('"imports": {},', False)])
async def test_an_import_map_of_a_workspace_s_root(folder: Path, imports: str, counts: bool) -> None:
    files = {
        "../deno.json": f'{{ "workspace": ["./{folder.name}"], {imports} "importMap": "./names.json" }}',
        "../names.json": '{ "imports": { "lib": "./lib.ts" } }',
        "deno.json": "{}",
    }
    program = await prepared(folder, files)
    found = json.loads(named(program, "--import-map").read_text())["imports"]
    assert found == ({"lib": (folder.parent / "lib.ts").as_uri()} if counts else {})
    assert (folder.parent / "names.json" in program.modules) == counts


async def test_workers_get_the_server_s_variables_of_registries_and_no_tokens(folder: Path) -> None:
    files = {".npmrc": f"{REGISTRY}\n{TOKEN}${{NPM_TOKEN}}\n"}
    of_server = {"NPM_ACME_URL": "https://npm.acme.example/", "NPM_TOKEN": "secret"}
    for own, is_hidden in (({}, True), ({"NPM_ACME_URL": of_server["NPM_ACME_URL"]}, False)):
        env = (await prepared(folder, files, env=own, **of_server)).command(folder, "x").env
        assert env["NPM_ACME_URL"] == of_server["NPM_ACME_URL"]
        assert ("NPM_ACME_URL" in env["OUTLAST_HIDE"].split(",")) == is_hidden
        assert "NPM_TOKEN" not in env


@pytest.mark.parametrize("deno_json", [{}, {"deno.json": "{}"}])
async def test_settings_that_are_links_to_the_outside(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, deno_json: Mapping[str, str]
) -> None:
    outside = tmp_path_factory.mktemp("home") / ".npmrc"
    outside.write_text(TOKEN)
    (folder / ".npmrc").symlink_to(outside)
    with pytest.raises(OutOfReach, match=f"^uses {outside}, which lies outside {folder.parent}"):
        await prepared(folder, deno_json)


@pytest.mark.parametrize(
    ("listed", "is_member"),
    [
        (["./functions/hello"], True),
        (["functions/hello/", "lib"], True),
        (["./functions/*"], True),
        (["./*/*"], True),
        ({"members": ["functions/hello"]}, True),
        (["./**"], True),
        (["functions/**/hello"], True),
        (["lib/**", "./functions/hello/**"], True),
        (["./functions/*", "!./functions/other"], True),
        (["./functions/h?llo"], True),
        (["./functions/*", "!./functions/hello"], False),
        (["!**/hello", "functions/*"], False),
        (["lib/**"], False),
        (["functions/[h]ello"], False),
        (["./functions"], False),
        (["./*"], False),
        (["hello"], False),
        (["lib"], False),
        ([], False),
    ],
)
def test_who_belongs_to_a_workspace(tmp_path: Path, listed: object, is_member: bool) -> None:
    member = tmp_path / "functions/hello/deno.json"
    member.parent.mkdir(parents=True)
    (tmp_path / "deno.json").write_text(json.dumps({"workspace": listed}))
    # One that is no workspace is passed over.
    (tmp_path / "functions/deno.json").write_text("{}")
    assert workspace.root(member, tmp_path) == (tmp_path / "deno.json" if is_member else None)
    assert workspace.root(member, tmp_path / "functions") is None


def test_wildcards_of_a_workspace_mean_no_hidden_folders(tmp_path: Path) -> None:
    member = tmp_path / ".hidden/hello/deno.json"
    for listed, is_member in ((["**"], False), (["*/*"], False), ([".hidden/**"], True)):
        (tmp_path / "deno.json").write_text(json.dumps({"workspace": listed}))
        assert (workspace.root(member, tmp_path) is not None) == is_member


@pytest.mark.parametrize("listed", [True, 5, "lib", [1], {"members": None}])
def test_a_workspace_that_lists_nothing(tmp_path: Path, listed: object) -> None:
    (tmp_path / "deno.json").write_text(json.dumps({"workspace": listed}))
    with pytest.raises(SettingsError, match=f"^{tmp_path}/deno.json: .workspace. must be an array of folders"):
        workspace.root(tmp_path / "hello/deno.json", tmp_path)


def test_the_root_of_a_workspace_is_no_link_to_the_outside(tmp_path: Path) -> None:
    (tmp_path / "within").mkdir()
    (tmp_path / "deno.json").write_text('{ "workspace": ["./hello"] }')
    (tmp_path / "within/deno.json").symlink_to("../deno.json")
    member = tmp_path / "within/hello/deno.json"
    assert workspace.root(member, tmp_path / "within") is None
    assert workspace.root(member, tmp_path) == tmp_path / "within/deno.json"


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("registry=https://${HOST}/", "registry=https://npm.example/"),
        ("  @acme:registry = ${HOST}/${UNKNOWN} ", "@acme:registry = npm.example/${UNKNOWN}"),
        ("; registry=https://npm.example/", None),
        ("//npm.example/:_authToken=${HOST}", None),
        ("my-registry=https://npm.example/", None),
    ],
)
def test_registries_of_an_npmrc(line: str, named: str | None) -> None:
    text = f"{TOKEN}1\n{line}\n//npm.example/:_auth=2"
    assert npmrc.registries(text.encode(), {"HOST": "npm.example"}) == ([] if named is None else [named])

"""Packages of npm that a function imports by the names in its package.json; registries that its .npmrc names."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
import pytest_asyncio
from tests.behaviour.served import Served, served
from tests.support.node import write_project
from tests.support.npm import npm_registry

TOKEN = "for-the-registry"
PATIENCE_S = 10


def tells(*names: str) -> str:
    """A function that answers what it has imported under these names."""
    imports = "".join(f'import {{ told as told{n} }} from "{name}";\n' for n, name in enumerate(names))
    told = ", ".join(f"told{n}" for n in range(len(names)))
    return f"{imports}Deno.serve(() => Response.json([{told}]));\n"


class Packaged(NamedTuple):
    names: list[str]
    """What the function imports."""
    told: list[str]
    files: dict[str, str]
    """Beside its index.ts."""


def listed(**packages: str) -> dict[str, str]:
    return {"package.json": f'{{ "dependencies": {{ {entries(packages)} }} }}'}


def entries(packages: dict[str, str]) -> str:
    return ", ".join(f'"{name}": "{wanted}"' for name, wanted in packages.items())


PACKAGED = {
    "dependency": Packaged(["plain"], ["plain 1.2.0 of {public}"], listed(plain="^1.0.0")),
    "part-of-it": Packaged(["plain/part.js"], ["plain 1.2.0 of {public}"], listed(plain="^1.0.0")),
    "its-own-data": Packaged(["plain/data.js"], ["plain 1.2.0 of {public}"], listed(plain="^1.0.0")),
    "exact": Packaged(["plain"], ["plain 1.0.0 of {public}"], listed(plain="1.0.0")),
    "tag": Packaged(["plain"], ["plain 2.0.0 of {public}"], listed(plain="latest")),
    "any": Packaged(["plain"], ["plain 2.0.0 of {public}"], listed(plain="")),
    "alias": Packaged(["short"], ["plain 1.2.0 of {public}"], listed(short="npm:plain@^1")),
    "both-kinds": Packaged(
        ["plain", "tool"],
        ["plain 1.2.0 of {public}", "tool 2.0.0 of {public}"],
        {
            "package.json": '{ "dependencies": { "plain": "1" },'
            ' "devDependencies": { "plain": "2", "tool": "^2", "@types/node": "*", "local": "workspace:*" } }'
        },
    ),
    "of-all": Packaged(["common"], ["common 1.0.0 of {public}"], {}),
    "beside-deno-json": Packaged(
        ["plain", "mapped"],
        ["plain 2.0.0 of {public}", "mapped 1.2.0 of {public}"],
        {**listed(plain="1", mapped="^1"), "deno.json": '{ "imports": { "plain": "npm:plain@^2" } }'},
    ),
    "beside-import-map": Packaged(
        ["plain", "mapped"],
        ["plain 2.0.0 of {public}", "mapped 1.2.0 of {public}"],
        {**listed(plain="1", mapped="^1"), "import_map.json": '{ "imports": { "plain": "npm:plain@^2" } }'},
    ),
    # How Supabase's own examples have it; Deno wants a slash after the colon.
    "folder-of-a-package": Packaged(
        ["plain/part.js"],
        ["plain 1.2.0 of {public}"],
        {"deno.json": '{ "imports": { "plain": "npm:plain@^1", "plain/": "npm:plain@^1/" } }'},
    ),
    "private": Packaged(
        ["@private/lib", "plain"],
        ["@private/lib 1.2.0 of {private}", "plain 1.2.0 of {public}"],
        {**listed(**{"@private/lib": "^1.0.0", "plain": "^1"}), ".npmrc": "{npmrc}"},
    ),
    "private-by-specifier": Packaged(
        ["npm:@private/lib@1.0.0"], ["@private/lib 1.0.0 of {private}"], {".npmrc": "{npmrc}"}
    ),
    "private-beside-deno-json": Packaged(
        ["@private/lib"],
        ["@private/lib 1.0.0 of {private}"],
        {"deno.json": '{ "imports": { "@private/lib": "npm:@private/lib@1.0.0" } }', ".npmrc": "{npmrc}"},
    ),
    "server-s-registry": Packaged(
        ["npm:@private/lib@1.0.0"],
        ["@private/lib 1.0.0 of {private}"],
        {".npmrc": "@private:registry=${NPM_PRIVATE_URL}\n"},
    ),
    "server-s-registry-beside-deno-json": Packaged(
        ["npm:@private/lib@1.0.0"],
        ["@private/lib 1.0.0 of {private}"],
        {".npmrc": "@private:registry=${NPM_PRIVATE_URL}\n", "deno.json": "{}"},
    ),
    "private-for-all": Packaged(["npm:@shared/lib@2"], ["@shared/lib 2.0.0 of {private}"], {}),
}
REFUSED = {
    "workspace": (tells("@acme/lib/part.js"), listed(**{"@acme/lib": "workspace:*"}), ['"@acme/lib" is "workspace:*"']),
    "folder": (tells("lib"), listed(lib="file:../lib"), ['"lib" is "file:../lib"', "deno.json"]),
    "choice": (tells("plain"), listed(plain="0.x || 1.0.x"), ['"plain" is "0.x || 1.0.x"', '"^1.2.3"']),
    "repository": (tells("lib"), listed(lib="owner/lib"), ['"lib" is "owner/lib"']),
    "broken": (tells("plain"), {"package.json": '{ "dependencies": { "plain": '}, ["truncated"]),
    "no-versions": (tells("plain"), {"package.json": '{ "dependencies": ["plain"] }'}, ['"dependencies" must be']),
    "broken-npmrc": (tells("npm:plain@1"), {".npmrc": "@private:registry="}, ["scope 'private'"]),
}
COMMON_JS = {
    "index.js": 'const { createServer } = require("node:http");\n'
    'createServer((_, response) => response.end("required")).listen(8080);\n',
    "package.json": '{ "type": "commonjs" }',
}
CONFIG = f"[edge_runtime.secrets]\nREGISTRY_TOKEN = '{TOKEN}'\n"


@dataclass
class Site:
    served: Served
    functions: Path
    names: dict[str, str]
    heard: list[str]
    """What the private registry was asked for, and with which rights."""

    def written(self, text: str) -> str:
        for name, value in self.names.items():
            text = text.replace(name, value)
        return text

    def write(self, path: str | Path, text: str) -> None:
        file = self.functions / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(self.written(text))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    heard: list[str] = []
    sources = {name: tells(*packaged.names) for name, packaged in PACKAGED.items()}
    sources |= {name: source for name, (source, _, _) in REFUSED.items()}
    sources |= {
        "changes": tells("plain"),
        "moves": tells("npm:@private/lib@1.0.0"),
        "common-js/index.js": "",
        "vendored": "",
    }
    with npm_registry([]) as public, npm_registry(heard) as private:
        npmrc = f"@private:registry=http://{private}/\n//{private}/:_authToken=${{REGISTRY_TOKEN}}\n"
        names = {"{public}": public, "{private}": private, "{npmrc}": npmrc}
        project = write_project(folder, sources, config=CONFIG)
        there = Site(None, project / "supabase/functions", names, heard)  # type: ignore[arg-type]
        files = {name: packaged.files for name, packaged in PACKAGED.items()}
        files |= {name: beside for name, (_, beside, _) in REFUSED.items()}
        files |= {
            "": {**listed(common="1.0.0"), ".npmrc": "@shared:registry=http://{private}/\n"},
            "changes": listed(plain="1.0.0"),
            "moves": {".npmrc": "@private:registry=http://{public}/\n"},
            "common-js": COMMON_JS,
            "vendored": {"index.ts": tells("npm:plain@^1"), "deno.json": '{ "vendor": true }'},
        }
        for name, beside in files.items():
            for path, text in beside.items():
                there.write(Path(name, path), text)
        env = {"NPM_CONFIG_REGISTRY": f"http://{public}/", "NPM_PRIVATE_URL": f"http://{private}/"}
        env |= {"DENO_DIR": str(folder / "deno"), "HOME": str(folder)}
        async with served(project, env=env) as there.served:
            yield there


@pytest.mark.parametrize("function", PACKAGED)
async def test_packages_by_name(site: Site, function: str) -> None:
    response = await site.served.call(function)
    assert response.status_code == 200, site.served.node.found("boot_failure", function=function)
    assert response.json() == [site.written(told) for told in PACKAGED[function].told]
    folder = site.functions / function
    assert {path.name for path in folder.iterdir()} == {"index.ts", *PACKAGED[function].files}, "written to"


async def test_a_token_may_be_a_variable_of_the_functions(site: Site) -> None:
    await site.served.call("private")
    # The only function that needs this version. Which versions there are, another one may have asked before.
    assert f"/@private/lib/-/1.2.0 Bearer {TOKEN}" in site.heard


@pytest.mark.parametrize("function", REFUSED)
async def test_the_log_says_what_cannot_be_used(site: Site, function: str) -> None:
    response = await site.served.call(function)
    assert (response.status_code, response.json()["code"]) == (503, "BOOT_ERROR")
    failure = await site.served.node.wait_for("boot_failure", function=function)
    _, beside, said = REFUSED[function]
    (file,) = beside
    for words in (f"{function}/{file}", *said):
        assert words in failure["msg"]


async def test_common_js(site: Site) -> None:
    assert (await site.served.call("common-js")).text == "required"


async def test_a_deno_json_that_wants_packages_beside_it(site: Site) -> None:
    response = await site.served.call("vendored")
    assert response.status_code == 200, site.served.node.found("boot_failure", function="vendored")
    assert response.json() == [site.written("plain 1.2.0 of {public}")]
    assert (site.functions / "vendored/node_modules/plain").is_dir()


async def until(site: Site, function: str, told: str) -> httpx.Response:
    async with asyncio.timeout(PATIENCE_S):
        while (response := await site.served.call(function)).json() != [site.written(told)]:
            assert response.status_code == 200, site.served.node.log_text()
    return response


async def test_a_change_of_package_json_takes_effect(site: Site) -> None:
    await until(site, "changes", "plain 1.0.0 of {public}")
    site.write("changes/package.json", listed(plain="2.0.0")["package.json"])
    await until(site, "changes", "plain 2.0.0 of {public}")
    (site.functions / "changes/package.json").unlink()
    site.write("package.json", listed(common="1.0.0", plain="1.2.0")["package.json"])
    await until(site, "changes", "plain 1.2.0 of {public}")


async def test_a_change_of_npmrc_takes_effect(site: Site) -> None:
    await until(site, "moves", "@private/lib 1.0.0 of {public}")
    site.write("moves/.npmrc", "{npmrc}")
    await until(site, "moves", "@private/lib 1.0.0 of {private}")


async def test_the_registry_may_be_a_variable_of_the_functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NPM_CONFIG_REGISTRY", raising=False)
    with npm_registry([]) as registry:
        config = f"[edge_runtime.secrets]\nNPM_CONFIG_REGISTRY = 'http://{registry}/'\n"
        project = write_project(tmp_path, {"hello": tells("npm:plain@1.0.0")}, config=config)
        env = {"DENO_DIR": str(tmp_path / "deno"), "HOME": str(tmp_path)}
        async with served(project, env=env) as node:
            assert (await node.call("hello")).json() == [f"plain 1.0.0 of {registry}"]

"""Imports of TypeScript: some names are answered here without the network, the rest is as the user's files say."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio
from tests.behaviour.served import Served, served
from tests.support.node import write_project

NOWHERE = "http://127.0.0.1:9"
"""Nothing listens there: whatever is fetched from a registry fails at once."""
EDGE_RUNTIME = [
    "jsr:@edge-runtime/js@2",
    "jsr:@edge-runtime/js@^2.0.0",
    "jsr:@edge-runtime/js@2.1.0",
    "jsr:@edge-runtime/js",
    "jsr:/@edge-runtime/js@2",
]
TYPES = [
    "jsr:@supabase/functions-js/edge-runtime.d.ts",
    "jsr:@supabase/functions-js@2/edge-runtime.d.ts",
    "jsr:@supabase/functions-js@2.4.1/edge-runtime.d.ts",
    "jsr:@supabase/functions-js@^2/edge-runtime.d.ts",
]
STD = [
    "https://deno.land/std@0.168.0/http/server.ts",
    "https://deno.land/std@0.224.0/http/server.ts",
    "https://deno.land/std/http/server.ts",
]


TASK = "EdgeRuntime.waitUntil(Promise.resolve(), { name: 'task' })"
SERVE = f"Deno.serve(() => {{ {TASK}; return new Response('ok') }})"
ANSWERED = {
    **{f"runtime{n}": f"import {{ EdgeRuntime }} from '{name}'\n{SERVE}" for n, name in enumerate(EDGE_RUNTIME)},
    **{f"types{n}": f'import "{name}";\n{SERVE}' for n, name in enumerate(TYPES)},
    **{
        f"std{n}": f'import {{ serve }} from "{name}"\nserve(() => {{ {TASK}; return new Response("ok") }})'
        for n, name in enumerate(STD)
    },
}


class Mapped(NamedTuple):
    text: str
    """What the function answers."""
    source: str
    files: dict[str, str]
    """Beside its index.ts."""


SAY = "export const say = (where: string) => `said by ${where}`\n"
MAPPED = {
    "deno-json": Mapped(
        "said by _shared",
        "import { say } from 'say'\nimport { shared } from '@shared/shared.ts'\n"
        "Deno.serve(() => new Response(say(shared)))",
        {
            "deno.json": '{ "imports": { "say": "./lib/say.ts", "@shared/": "../_shared/" } }',
            "lib/say.ts": SAY,
            "../_shared/shared.ts": "export const shared = '_shared'",
        },
    ),
    "deno-jsonc": Mapped(
        "said by jsonc",
        "import { say } from 'say'\nDeno.serve(() => new Response(say('jsonc')))",
        {"deno.jsonc": '{\n  // where it is\n  "imports": { "say": "./say.ts", },\n}', "say.ts": SAY},
    ),
    "comments-after-commas": Mapped(
        "said by // no, } /* comment */",
        "import { say } from ' /*, }*/, ]'\nDeno.serve(() => new Response(say('// no, } /* comment */')))",
        {
            "deno.json": '{ /* of all */ "imports": {\n  " /*, }*/, ]": "./say.ts", // where\n'
            '  // "who": "./who.ts", },\n}, /* and */ // that,\n /* is all */ }\n',
            "say.ts": SAY,
        },
    ),
    "import-map-of-deno-json": Mapped(
        "said by importMap",
        "import { say } from 'say'\nDeno.serve(() => new Response(say('importMap')))",
        {
            "deno.json": '{ "importMap": "./maps/own.json" }',
            "maps/own.json": '{ "imports": { "say": "../say.ts" } }',
            "say.ts": SAY,
        },
    ),
    "import-map-of-all": Mapped(
        "said by import_map.json",
        "import { say } from 'say'\nDeno.serve(() => new Response(say('import_map.json')))",
        {"../import_map.json": '{ "imports": { "say": "./_shared/say.ts" } }', "../_shared/say.ts": SAY},
    ),
    "import-map-of-config": Mapped(
        "said by config.toml",
        "import { say } from 'tell'\nDeno.serve(() => new Response(say('config.toml')))",
        {"../../maps/say.json": '{ "imports": { "tell": "../functions/_shared/say.ts" } }'},
    ),
    "scopes": Mapped(
        "said by scope",
        "import { say } from './inner/say.ts'\nDeno.serve(() => new Response(say()))",
        {
            "deno.json": '{ "imports": { "who": "./no.ts" }, "scopes": { "./inner/": { "who": "./inner/who.ts" } } }',
            "inner/say.ts": "import { who } from 'who'\nexport const say = () => `said by ${who}`",
            "inner/who.ts": "export const who = 'scope'",
        },
    ),
    "beside-what-is-answered": Mapped(
        "said by function",
        "import { say } from 'say'\nimport { EdgeRuntime } from 'jsr:@edge-runtime/js@2'\n"
        "Deno.serve(() => new Response(say(typeof EdgeRuntime.waitUntil)))",
        {"deno.json": '{ "imports": { "say": "./say.ts" } }', "say.ts": SAY},
    ),
    "another-name-for-what-is-answered": Mapped(
        "function",
        "import { EdgeRuntime } from 'runtime'\nDeno.serve(() => new Response(typeof EdgeRuntime.waitUntil))",
        {"deno.json": '{ "imports": { "runtime": "jsr:@edge-runtime/js@2" } }'},
    ),
    "types-by-the-name-of-their-package": Mapped(
        "function",
        "import '@supabase/functions-js/edge-runtime.d.ts'\n"
        "Deno.serve(() => new Response(typeof EdgeRuntime.waitUntil))",
        {"deno.json": '{ "imports": { "@supabase/functions-js": "jsr:@supabase/functions-js@^2" } }'},
    ),
    "json": Mapped(
        "from JSON",
        "import words from './words.json' with { type: 'json' }\nDeno.serve(() => new Response(words.hello))",
        {"words.json": '{ "hello": "from JSON" }'},
    ),
    "imported-while-it-runs": Mapped(
        "said by import()",
        "Deno.serve(async () => new Response((await import('./later.ts')).say('import()')))",
        {"later.ts": SAY},
    ),
    "imported-by-a-name-that-nobody-foresees": Mapped(
        "said by import()",
        "Deno.serve(async () => new Response((await import(`./${['later', 'ts'].join('.')}`)).say('import()')))",
        {"later.ts": SAY},
    ),
    "web-assembly": Mapped(
        "3",
        "import { add } from './add.wasm'\nDeno.serve(() => new Response(String(add(1, 2))))",
        {"add.wasm": "\0asm\1\0\0\0\1\7\1\x60\2\x7f\x7f\1\x7f\3\2\1\0\7\7\1\3add\0\0\n\t\1\7\0\x20\0\x20\1\x6a\x0b"},
    ),
}
CONFIG = '[functions.import-map-of-config]\nverify_jwt = false\nimport_map = "./maps/say.json"\n'


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """Served without a network, and with nothing fetched before."""
    folder = tmp_path_factory.mktemp("site")
    sources = {**ANSWERED, **{name: mapped.source for name, mapped in MAPPED.items()}}
    project = write_project(folder, sources, config=CONFIG)
    for name, mapped in MAPPED.items():
        for path, text in mapped.files.items():
            file = project / "supabase/functions" / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    offline = {"HTTP_PROXY": NOWHERE, "HTTPS_PROXY": NOWHERE, "JSR_URL": NOWHERE, "NPM_CONFIG_REGISTRY": NOWHERE}
    async with served(project, env={**offline, "NO_PROXY": "", "DENO_DIR": str(folder / "deno")}) as site:
        yield site


@pytest.mark.parametrize("function", ANSWERED)
async def test_what_is_answered_without_the_network(site: Served, function: str) -> None:
    response = await site.call(function)
    assert (response.status_code, response.text) == (200, "ok"), site.node.found("boot_failure", function=function)
    (task,) = await site.finished(response)
    assert (task["name"], task["outcome"]) == ("task", "fulfilled")


@pytest.mark.parametrize("function", MAPPED)
async def test_maps_of_the_user(site: Served, function: str) -> None:
    response = await site.call(function)
    assert response.text == MAPPED[function].text, site.node.found("boot_failure", function=function)


async def test_a_deno_json_of_all_functions(tmp_path: Path) -> None:
    project = write_project(
        tmp_path,
        {
            "hello": "import { said } from '@shared/said.ts'\n"
            "const named = (target: any, key: string) => { target.named = key }\n"
            "class Named { @named field = 1 }\n"
            "Deno.serve(() => new Response(said + (new Named() as any).named))",
            "own": "import { said } from 'said'\nDeno.serve(() => new Response(said))",
        },
    )
    functions = project / "supabase/functions"
    (functions / "_shared").mkdir()
    (functions / "_shared/said.ts").write_text("import { who } from 'who'\nexport const said = `said by ${who} `")
    (functions / "_shared/who.ts").write_text("export const who = 'all'")
    (functions / "deno.json").write_text(
        '{ "imports": { "@shared/": "./_shared/", "who": "./_shared/who.ts" }, '
        '"compilerOptions": { "experimentalDecorators": true } }'
    )
    (functions / "own/deno.json").write_text('{ "imports": { "said": "data:text/javascript,export const said = 7" } }')
    async with served(project) as site:
        assert [(await site.call(name)).text for name in ("hello", "own")] == ["said by all field", "7"], (
            site.node.found("boot_failure")
        )


@pytest.mark.parametrize(
    "members", ['["./supabase/functions/*", "./lib"]', '{ "members": ["supabase/functions/hello", "lib/"] }']
)
async def test_the_names_of_a_workspace_are_those_of_its_members(tmp_path: Path, members: str) -> None:
    project = write_project(
        tmp_path,
        {
            "hello": "import { lib } from 'lib'\nimport { own } from 'own'\nimport { both } from 'both'\n"
            "Deno.serve(() => new Response([lib, own, both].join()))",
        },
    )
    for name in ("lib", "lib2"):
        (project / f"{name}.ts").write_text(f"export const lib = '{name}'")
    (project / "lib").mkdir()
    (project / "lib/deno.json").write_text("{}")
    shared = '{ "workspace": %s, "imports": { "lib": "./%s.ts", "both": "data:text/javascript,not the member\'s" } }'
    (project / "deno.jsonc").write_text(shared % (members, "lib"))
    own = '{ "imports": { "own": "data:text/javascript,export const own = 1", "both": "./both.ts" } }'
    (project / "supabase/functions/hello/deno.json").write_text(own)
    (project / "supabase/functions/hello/both.ts").write_text("export const both = 2")
    async with served(project) as site:
        response = await site.call("hello")
        assert response.text == "lib,1,2", site.node.found("boot_failure")
        (project / "deno.jsonc").write_text(shared % (members, "lib2"))
        old = response.headers["x-sb-execution-id"]
        await site.node.wait_for("shutdown", execution_id=old, reason="reload")
        assert (await site.call("hello")).text == "lib2,1,2"


async def test_the_users_folder_is_not_written_to(site: Served) -> None:
    """No lock file, no changed configuration, no node_modules."""
    await site.call("deno-json")
    folder = site.node.project / "supabase/functions/deno-json"
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found == {"index.ts", "deno.json", "lib/say.ts"}
    assert (folder / "deno.json").read_text() == MAPPED["deno-json"].files["deno.json"]

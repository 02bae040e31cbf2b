"""A function that cannot be started is answered for with 503, and the log says what its author must mend."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
import pytest_asyncio
from tests.behaviour.served import ENTRYPOINTS, PYTHON_ONLY, TYPESCRIPT_ONLY, Served, served
from tests.support.node import serving, write_project

from outlast.engines.python.build import ELSEWHERE
from outlast.runtime import hints
from outlast.sandbox import landlock


class Broken(NamedTuple):
    source: str
    said: list[str]
    """Words that its author needs."""


BROKEN = {
    "syntax-error": {
        "typescript": Broken("const greeting = 'hello'\nconst = 1\n", ["index.ts:2:7", "expected"]),
        "python": Broken("greeting = 'hello'\n= 1\n", ["main.py:2", "SyntaxError: invalid syntax", "= 1"]),
    },
    "throws": {
        "typescript": Broken(
            "import.meta.url\nthrow new Error('no key for the mail service')\n", ["no key for", "index.ts:2:7"]
        ),
        "python": Broken(
            "import os\nraise LookupError('no key for the mail service')\n", ["no key for", 'main.py", line 2']
        ),
    },
    "throws-nothing": {
        "typescript": Broken("throw undefined", ["undefined"]),
        "python": Broken("raise ValueError", ["ValueError", 'main.py", line 1']),
    },
    "missing-file": {
        "typescript": Broken("import './missing.ts'\nDeno.serve(() => new Response())", ["missing.ts", "index.ts:1:8"]),
        "python": Broken("from _shared.missing import words\n", ["_shared.missing", 'main.py", line 1']),
    },
    "missing-name": {
        "typescript": Broken("import { nothing } from './other.ts'\nnothing()", ["nothing", "other.ts"]),
        "python": Broken("from other import nothing\nnothing()", ["nothing", "other.py"]),
    },
    "missing-package": {
        "typescript": Broken("import 'not-in-any-map'\n", ["not-in-any-map", "index.ts:1:8"]),
        "python": Broken("import not_installed_anywhere\n", ["not_installed_anywhere", 'main.py", line 1']),
    },
    "broken-settings": {
        "typescript": Broken("Deno.serve(() => new Response())", ["deno.json"]),
        "python": Broken("# /// script\n# dependencies = [\n# ///\n", ["main.py", "# /// script", "cannot be read"]),
    },
    "rejects-late": {
        "typescript": Broken(
            "await new Promise((d) => setTimeout(d, 20))\nawait Promise.reject(new Error('late'))", ["late"]
        ),
        "python": Broken(
            "import contextlib\nfrom starlette.applications import Starlette\n"
            "@contextlib.asynccontextmanager\nasync def lifespan(app):\n    raise LookupError('late')\n    yield\n"
            "app = Starlette(lifespan=lifespan)\n",
            ["LookupError: late", 'main.py", line 5'],
        ),
    },
    "exits": {
        "typescript": Broken("Deno.exit(7)", ["7"]),
        "python": Broken("import sys\nsys.exit(7)", ["7"]),
    },
}
FILES = {
    "typescript": {
        "missing-name/other.ts": "export const something = 1",
        "broken-settings/deno.json": '{ "imports": ',
    },
    "python": {
        "missing-name/other.py": "something = 1",
        "lists-a-package-elsewhere/requirements.txt": "-e ../../../billing",
    },
}
WHOLE = {
    "typescript": "Deno.serve(() => new Response('ok'))",
    "python": "from outlast import Response, serve\nserve(lambda request: Response('ok'))",
}
BOOT_TIMEOUT_MS = {"never-serves": 1500, "serves-nothing": 1500, "never-ends": 300}
"""The first one has to come to its end before."""
NEVER_SERVES = {
    "never-serves": {
        "typescript": "export const nothing = 1",
        "python": "import asyncio\nfrom outlast import EdgeRuntime\nEdgeRuntime.wait_until(asyncio.Event().wait())",
    },
    "never-ends": {
        "typescript": "await new Promise(() => {})",
        "python": "import threading\nthreading.Event().wait()",
    },
}
STARTS_SERVER = {
    "runs-uvicorn": "import uvicorn\nasync def app(scope, receive, send): ...\nuvicorn.run(app)",
    "runs-asyncio": "import asyncio\nasync def main(): ...\nasyncio.run(main())",
    "runs-until-complete": "import asyncio\nasyncio.get_event_loop().run_until_complete(asyncio.sleep(0))",
    "gives-up": "import sys\nsys.exit('cannot listen')",
}
REFUSED = {
    "writes-beside-itself": ("open('out.txt', 'w')", hints.FILES),
    "writes-a-database": ("import sqlite3\nsqlite3.connect('/tmp/outlast.db')", hints.FILES),
    "changes-its-database": (
        "import sqlite3\ndata = sqlite3.connect('data.db')\n"
        "assert data.execute('select x from t').fetchall() == [(7,)]\ndata.execute('insert into t values (8)')",
        hints.FILES,
    ),
    "reads-variables": ("from pathlib import Path\n(Path(__file__).parents[1] / '.env').read_text()", hints.DOTENV),
    "makes-a-pool": ("from concurrent.futures import ProcessPoolExecutor\nProcessPoolExecutor()", hints.CALLS),
    "makes-a-pool-in-its-lifespan": (
        "from concurrent.futures import ProcessPoolExecutor\nfrom contextlib import asynccontextmanager\n"
        "from starlette.applications import Starlette\n@asynccontextmanager\nasync def lifespan(app):\n"
        "    with ProcessPoolExecutor() as pool: yield {'pool': pool}\napp = Starlette(lifespan=lifespan)",
        hints.CALLS,
    ),
    "lists-a-package-elsewhere": ("import billing", ELSEWHERE),
}
"""What the sandbox refuses, and what to do about it."""
HOW_TO_SERVE = {
    "typescript": "call Deno.serve(handler) or export default { fetch }",
    "python": "call serve(handler)",
}
OWN_FRAMES = {"typescript": "bootstrap.ts", "python": "outlast/"}
SERVES_NOTHING = {"typescript": "export default () => new Response()", "python": "nothing = 1"}
OUTLAST_TOML = "\n".join(
    f"[functions.{name}.limits]\nboot_timeout_ms = {timeout_ms}" for name, timeout_ms in BOOT_TIMEOUT_MS.items()
)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def site(tmp_path_factory: pytest.TempPathFactory, language: str) -> AsyncIterator[Served]:
    sources = {name: sources[language].source for name, sources in BROKEN.items()}
    sources |= {name: sources[language] for name, sources in NEVER_SERVES.items()}
    if language == "python":
        sources |= STARTS_SERVER | {name: source for name, (source, _) in REFUSED.items()}
    sources |= {"whole": WHOLE[language], "serves-nothing": SERVES_NOTHING[language]}
    files = {f"{name}/{ENTRYPOINTS[language]}": source for name, source in sources.items()} | FILES[language]
    project = write_project(tmp_path_factory.mktemp("site"), files, outlast=OUTLAST_TOML)
    if language == "python":
        (project / "supabase/functions/.env").write_text("GREETING=hello")
        (project / "billing").mkdir()
        (project / "billing/pyproject.toml").write_text('[project]\nname = "billing"\nversion = "1"')
        with sqlite3.connect(project / "supabase/functions/changes-its-database/data.db") as data:
            data.execute("create table t as select 7 as x")
    async with served(project) as site:
        yield site


def assert_boot_error(status: int, body: object) -> None:
    assert status == 503
    assert body == {"code": "BOOT_ERROR", "message": "Worker failed to boot (please check logs)"}


@pytest.mark.parametrize("function", BROKEN)
async def test_the_log_says_what_is_wrong(site: Served, language: str, function: str) -> None:
    response = await site.call(function)
    assert_boot_error(response.status_code, response.json())
    assert response.headers["sb-error-code"] == "BOOT_ERROR"
    failure = await site.node.wait_for("boot_failure", function=function)
    assert failure["level"] == "error"
    for words in BROKEN[function][language].said:
        assert words in failure["msg"], failure["msg"]
    assert OWN_FRAMES[language] not in failure["msg"]


async def test_it_is_tried_again_with_the_next_request(site: Served) -> None:
    since = site.now
    for _ in range(2):
        response = await site.call("throws")
        assert_boot_error(response.status_code, response.json())
    await site.node.wait_for("boot_failure", function="throws", since=since, count=2)


async def test_what_was_said_before_the_first_request_is_not_said_again(site: Served) -> None:
    """What is wrong with a file that cannot even be read by its language is known from the start."""
    responses = [await site.call("syntax-error") for _ in range(3)]
    for response in responses:
        assert_boot_error(response.status_code, response.json())
        await site.node.wait_for("request", request_id=response.headers["sb-request-id"])
    assert len(site.node.found("boot_failure", function="syntax-error")) == 1


@pytest.mark.parametrize("function", NEVER_SERVES)
async def test_what_never_serves_is_given_up(site: Served, language: str, function: str) -> None:
    since = site.now
    response = await site.call(function)
    assert_boot_error(response.status_code, response.json())
    failure = await site.node.wait_for("boot_failure", function=function)
    assert f"did not start serving within {BOOT_TIMEOUT_MS[function]} ms" in failure["msg"]
    assert "boot_timeout_ms" in failure["msg"]
    hints = site.node.found("log", level="warning", function=function, since=since)
    assert [HOW_TO_SERVE[language] in hint["msg"] for hint in hints] == [True] * (function == "never-serves")


@PYTHON_ONLY
@pytest.mark.parametrize("function", STARTS_SERVER)
async def test_a_module_that_starts_a_server_of_its_own_is_told_how_to_serve(site: Served, function: str) -> None:
    response = await site.call(function)
    assert_boot_error(response.status_code, response.json())
    failure = await site.node.wait_for("boot_failure", function=function)
    assert failure["msg"].startswith(f"{function}/main.py ")
    for words in ("uvicorn.run(app)", "`app`", "serve(handler)", '`if __name__ == "__main__":`', 'main.py", line '):
        assert words in failure["msg"], failure["msg"]


@PYTHON_ONLY
@pytest.mark.skipif(landlock.version() == 0, reason="refused by Landlock")
@pytest.mark.parametrize("function", REFUSED)
async def test_a_module_that_is_refused_something_is_told_what_to_do(site: Served, function: str) -> None:
    response = await site.call(function)
    assert_boot_error(response.status_code, response.json())
    failure = await site.node.wait_for("boot_failure", function=function)
    assert failure["msg"].endswith(f"\n\nhint: {REFUSED[function][1]}")


@PYTHON_ONLY
async def test_a_module_without_work_that_serves_nothing_is_not_waited_for(site: Served) -> None:
    response = await site.call("serves-nothing")
    assert_boot_error(response.status_code, response.json())
    failure = await site.node.wait_for("boot_failure", function="serves-nothing")
    assert failure["msg"].startswith("serves-nothing/main.py serves nothing: call serve(handler), or define an ASGI")


@TYPESCRIPT_ONLY
async def test_a_function_that_is_exported_alone_says_so(site: Served) -> None:
    await site.call("serves-nothing")
    hint = await site.node.wait_for("log", function="serves-nothing", level="warning")
    assert hint["msg"].endswith("export default { fetch }; its default export is just a function")


async def test_its_neighbours_are_served(site: Served) -> None:
    response = await site.call("whole")
    assert (response.status_code, response.text) == (200, "ok")


async def test_a_project_that_cannot_be_written_to(tmp_path: Path) -> None:
    project = write_project(tmp_path, {"hello": "Deno.serve(() => new Response())"})
    (project / ".outlast").mkdir()
    in_the_way = project / ".outlast/functions"
    in_the_way.touch()
    async with serving(project) as node, httpx.AsyncClient(base_url=node.url, timeout=30) as client:
        response = await client.get("/hello")
        assert_boot_error(response.status_code, response.json())
        failure = await node.wait_for("boot_failure", function="hello")
        assert failure["msg"] == f"{in_the_way / 'hello'}: Not a directory"

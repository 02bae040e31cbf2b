"""The commands that ask a node: what they print, and how they end."""

import asyncio
import json
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.support.admin import admin, admin_url, token
from tests.support.commands import Result, run
from tests.support.node import Node, serving, write_project

PATIENCE_S = 30
FUNCTIONS = {
    "mixed": """
const open = [];
Deno.serve(async (request) => {
  const asked = new URL(request.url).searchParams;
  if (asked.has("wake")) {
    open.splice(0).forEach((wake) => wake());
    return new Response("woken");
  }
  if (asked.has("cut")) {
    const half = new ReadableStream({
      start: (body) => body.enqueue(new TextEncoder().encode("half")),
      pull: (body) => body.error(new Error("no more")),
    }, { highWaterMark: 2 });
    return new Response(half, { headers: { "content-length": "8" } });
  }
  console.log(`asked ${request.method} with ${await request.text()}`);
  if (asked.has("good")) EdgeRuntime.waitUntil(Promise.resolve().then(() => {}), { name: "good" });
  if (asked.has("bad")) EdgeRuntime.waitUntil(Promise.reject(new Error("no \\x1b[31mpaper")), { name: "bad" });
  if (asked.has("slow")) EdgeRuntime.waitUntil(new Promise((wake) => open.push(wake)), { name: "slow" });
  const answer = { type: request.headers.get("content-type"), custom: request.headers.get("x-custom") };
  return Response.json(answer, { status: Number(asked.get("status") ?? 200) });
});
""",
    "locked": 'Deno.serve((request) => new Response(request.headers.get("authorization")?.slice(0, 10)))',
}


def is_empty(folder: Path) -> bool:
    return not [*folder.iterdir()]


def clean(**env: str) -> dict[str, str]:
    return {**{name: value for name, value in os.environ.items() if not name.startswith("OUTLAST_")}, **env}


async def started(
    *arguments: str, cwd: Path, stdout: int = asyncio.subprocess.PIPE, **env: str
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "outlast", *arguments),
        cwd=cwd,
        env=clean(**env),
        stdin=asyncio.subprocess.PIPE,
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
    )


def outlast(*arguments: str, cwd: Path, stdin: str = "", **env: str) -> Result:
    return run(*arguments, cwd=cwd, stdin=stdin, env=clean(**env))


async def unread(*arguments: str, cwd: Path) -> tuple[int | None, bytes]:
    """The exit code, and what is said on standard error, when nobody reads the output."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    process = await started(*arguments, cwd=cwd, stdout=write_end)
    os.close(write_end)
    async with asyncio.timeout(PATIENCE_S):
        _, err = await process.communicate()
    return process.returncode, err


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    config = "[functions.locked]\nverify_jwt = true\n"
    async with serving(write_project(tmp_path_factory.mktemp("commands"), FUNCTIONS, config=config)) as served:
        yield served


@pytest.fixture
def inside(node: Node) -> Path:
    """A folder of the project, not its root."""
    return node.project / "supabase" / "functions"


class TestInvoke:
    async def test_prints_what_the_function_answers(self, node: Node, inside: Path) -> None:
        result = outlast("invoke", "mixed", cwd=inside)
        assert result.code == 0
        assert json.loads(result.out) == {"type": None, "custom": None}
        assert "200 OK" in result.err
        request_id = re.search(r"request (\S+)", result.err)
        assert request_id is not None
        await node.wait_for("log", request_id=request_id[1], msg="asked GET with ")

    @pytest.mark.parametrize(
        ("data", "stdin", "type_"),
        [
            ('{"a": 1}', "", "application/json"),
            ("@body.txt", "", "text/plain; charset=utf-8"),
            ("-", "[1]", "application/json"),
        ],
    )
    async def test_sends_a_body(self, node: Node, tmp_path: Path, data: str, stdin: str, type_: str) -> None:
        (tmp_path / "body.txt").write_text("from a file")
        where = {"OUTLAST_ADMIN_URL": admin_url(node), "OUTLAST_ADMIN_TOKEN": token(node)}
        arguments = ("invoke", "mixed", "--data", data, "-H", "X-Custom: yes", "--json")
        [answer] = outlast(*arguments, cwd=tmp_path, stdin=stdin, **where).objects
        assert json.loads(answer["body"]) == {"type": type_, "custom": "yes"}
        assert answer["status"] == 200
        said = {"@body.txt": "from a file", "-": stdin}.get(data, data)
        await node.wait_for("log", request_id=answer["request_id"], msg=f"asked POST with {said}")

    async def test_takes_any_characters(self, node: Node, inside: Path) -> None:
        arguments = ("invoke", "mixed/ä b?c=✓%20&d=1#e", "-H", "X-Custom: grün ✓", "--json")
        [answer] = outlast(*arguments, cwd=inside).objects
        assert answer["status"] == 200
        assert json.loads(answer["body"])["custom"].encode("latin-1").decode() == "grün ✓"
        await node.wait_for("request", path="/functions/v1/mixed/%C3%A4%20b")

    @pytest.mark.parametrize("options", [[], ["--json"]])
    async def test_a_response_that_is_cut_off_is_a_failure(self, inside: Path, options: list[str]) -> None:
        result = outlast("invoke", "mixed?cut", *options, cwd=inside)
        assert result.code == 1
        assert "no complete response" in result.err

    async def test_ends_without_a_word_when_nobody_reads_what_the_function_answers(self, inside: Path) -> None:
        assert await unread("invoke", "mixed", cwd=inside) == (1, b"")

    async def test_waits_for_the_tasks_and_tells_how_each_ended(self, inside: Path) -> None:
        result = outlast("invoke", "mixed?good&bad", "--wait", cwd=inside)
        assert result.code == 1, "one was rejected"
        _, *told = result.out.splitlines()
        assert any(re.match(r"good: fulfilled after ", line) for line in told)
        assert any(re.match(r"bad: rejected after ", line) for line in told)
        assert "no \\x1b[31mpaper" in result.out
        assert "\x1b" not in result.out

    async def test_waits_as_long_as_it_takes(self, node: Node, inside: Path) -> None:
        waiting = await started("invoke", "mixed?slow", "--wait", "--json", cwd=inside)
        assert waiting.stdout is not None
        answer = json.loads(await waiting.stdout.readline())
        assert outlast("invoke", "mixed?wake", cwd=inside).code == 0
        task = json.loads(await waiting.stdout.readline())
        assert (task["name"], task["outcome"], task["request_id"]) == ("slow", "fulfilled", answer["request_id"])
        assert await waiting.wait() == 0

    async def test_shows_the_anon_key_where_it_is_asked_for(self, inside: Path) -> None:
        assert outlast("invoke", "locked", cwd=inside).out == "Bearer eyJ"
        refused = outlast("invoke", "locked", "-H", "Authorization: Bearer x", cwd=inside)
        assert refused.code == 1
        assert "401" in refused.err

    async def test_a_status_of_an_error_is_one(self, inside: Path) -> None:
        assert outlast("invoke", "mixed?status=418", cwd=inside).code == 1

    @pytest.mark.parametrize(
        ("arguments", "code", "named"),
        [
            (["nobody"], 1, "nobody"),
            (["mixed", "--data=@none.txt"], 2, "none.txt"),
            (["mixed", "-H", "nonsense"], 2, "nonsense"),
            (["mixed", "-H", "nön: sense"], 2, "nön"),
            (["/functions/v1/mixed"], 2, "does not begin with a function's name"),
            ([""], 2, "does not begin with a function's name"),
        ],
    )
    async def test_what_cannot_be_sent(self, inside: Path, arguments: list[str], code: int, named: str) -> None:
        result = outlast("invoke", *arguments, cwd=inside)
        assert (result.code, result.out) == (code, "")
        assert named in result.err
        assert result.err.count("\n") == 1


class TestTasks:
    async def test_a_table(self, inside: Path) -> None:
        outlast("invoke", "mixed?good&bad", "--wait", cwd=inside)
        title, *rows = outlast("tasks", "--function=mixed", "--since=10m", cwd=inside).out.splitlines()
        assert title.split() == ["STARTED", "FUNCTION", "NAME", "OUTCOME", "TOOK", "ID"]
        assert any(re.search(r"mixed +good +fulfilled ", row) for row in rows)
        assert any(re.search(r"mixed +bad +rejected ", row) for row in rows)

    async def test_objects(self, inside: Path) -> None:
        outlast("invoke", "mixed?good&bad", "--wait", cwd=inside)
        found = outlast("tasks", "--outcome=rejected", "-n1", "--json", cwd=inside).objects
        [task] = found
        assert task["name"] == "bad"
        assert task["outcome"] == "rejected"
        assert "paper" in task["error"]
        assert outlast("tasks", "--since=0s", "--json", cwd=inside).out == ""

    async def test_what_a_terminal_cannot_spell_is_shown_all_the_same(self, inside: Path) -> None:
        assert outlast("invoke", "mixed?bad", "--wait", "--data=grün ✓", cwd=inside).code == 1
        for arguments, shown in (
            (["tasks", "show"], b"with gr\\xfcn \\u2713"),
            (["logs"], b"with gr\\xfcn \\u2713"),
            (["logs", "--json"], "with grün ✓".encode()),
        ):
            command = await started(*arguments, cwd=inside, PYTHONIOENCODING="ascii")
            out, err = await asyncio.wait_for(command.communicate(), PATIENCE_S)
            assert (command.returncode, err) == (0, b""), arguments
            assert shown in out

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
    async def test_an_output_that_takes_nothing(self, inside: Path) -> None:
        full = os.open("/dev/full", os.O_WRONLY)
        command = await started("tasks", cwd=inside, stdout=full)
        os.close(full)
        _, err = await asyncio.wait_for(command.communicate(), PATIENCE_S)
        assert (command.returncode, err.decode()) == (
            1,
            "outlast: the output cannot be written: No space left on device\n",
        )

    async def test_one_with_what_happened_around_it(self, inside: Path) -> None:
        invoked = outlast("invoke", "mixed?bad", "--wait", "--json", cwd=inside).objects
        id_ = invoked[1]["id"]
        shown = outlast("tasks", "show", id_, cwd=inside).out
        assert shown.startswith("bad: rejected after ")
        assert invoked[0]["request_id"] in shown
        timeline = [
            re.match(r"\S+ \S+ +(received|first byte|response end|task started|task settled|log)", line)
            for line in shown.splitlines()
        ]
        what = [found[1] for found in timeline if found is not None]
        assert what[0] == "received"
        assert {*what} == {"received", "first byte", "response end", "task started", "task settled", "log"}
        [story] = outlast("tasks", "show", id_, "--json", cwd=inside).objects
        assert story["task"]["id"] == id_
        unknown = outlast("tasks", "show", "none", cwd=inside)
        assert unknown == Result(1, "", "outlast: 'none' is no id: those are UUIDs\n")

    async def test_goes_on_with_each_that_settles(self, node: Node, inside: Path) -> None:
        watching = await started("tasks", "--watch", "--json", "--limit=1", "--outcome=fulfilled", cwd=inside)
        assert watching.stdout is not None
        outlast("invoke", "mixed?good", "--wait", cwd=inside)
        async with asyncio.timeout(PATIENCE_S):
            seen = json.loads(await watching.stdout.readline())
            # Whether it began before or after: the next one is news.
            invoked = outlast("invoke", "mixed?good", "--wait", "--json", cwd=inside).objects
            while seen["id"] != invoked[1]["id"]:
                seen = json.loads(await watching.stdout.readline())
        watching.terminate()
        await watching.wait()

    async def test_a_moment_that_is_none(self, inside: Path) -> None:
        result = outlast("tasks", "--since=soon", cwd=inside)
        assert result.code == 2
        assert "10m" in result.err


async def test_what_may_not_be_everything_is_said_to_be_so(tmp_path: Path) -> None:
    project = write_project(tmp_path, {"locked": FUNCTIONS["locked"]})
    nowhere = "postgresql://nobody@127.0.0.1:1/nowhere"
    missing = "01a201e6-0609-7d57-9a4a-67be81d8fd4d"
    async with serving(project, f"--database={nowhere}") as node:
        await node.wait_for("ledger", level="warning")
        listed = outlast("tasks", cwd=project)
        assert (listed.code, listed.out.split()[0]) == (0, "STARTED")
        assert "outlast: this may not be everything, since all is not well with the ledger's database: " in listed.err
        assert outlast("tasks", "--json", cwd=project).out == ""
        assert "may not be everything" in outlast("tasks", "show", cwd=project).err
        shown = outlast("tasks", "show", missing, cwd=project)
        assert shown.code == 1
        assert "no record of such a task, as far as this server remembers: all is not well with" in shown.err


class TestPs:
    async def test_tells_of_workers_against_their_limits(self, inside: Path) -> None:
        outlast("invoke", "mixed", cwd=inside)
        result = outlast("ps", cwd=inside)
        assert re.search(r"^mixed +ready .* of 2 s .* MiB of 256 .* of 6 min 40 s ", result.out, re.M), result.out
        workers = outlast("ps", "--json", cwd=inside).objects
        assert {worker["function"] for worker in workers} >= {"mixed"}
        assert all(worker["cpu_limit_ms"] == 2000 for worker in workers)


class TestLogs:
    async def test_the_latest(self, inside: Path) -> None:
        [answer] = outlast("invoke", "mixed", "--json", cwd=inside).objects
        [line] = outlast("logs", "--request", answer["request_id"], "--json", cwd=inside).objects
        assert line["msg"] == "asked GET with "
        shown = outlast("logs", "--function=mixed", "-n1", cwd=inside).out
        assert re.match(r"[\d:.]+  mixed +\w{4}  log +asked GET with\n$", shown)

    async def test_follows_one_function_until_the_node_ends(self, tmp_path: Path) -> None:
        hello = 'Deno.serve(() => { console.log("asked"); return new Response("hello"); })'
        project = write_project(tmp_path, {"one": hello, "other": hello})
        async with serving(project) as node, asyncio.timeout(PATIENCE_S):
            outlast("invoke", "one", cwd=project)
            following = await started("logs", "-f", "--function=one", "--json", cwd=project)
            assert following.stdout is not None
            # What has been is first: from then on it listens.
            seen = [json.loads(await following.stdout.readline())]
            outlast("invoke", "other", cwd=project)
            outlast("invoke", "one", cwd=project)
            assert await node.stop() == 0
            out, err = await following.communicate()
            seen += [json.loads(line) for line in out.decode().splitlines()]
        assert {event["function"] for event in seen} == {"one"}
        assert [event["event"] for event in seen].count("log") == 2
        assert seen[-1]["event"] == "shutdown"
        assert following.returncode == 0
        assert b"ended" in err

    async def test_following_ends_without_a_word_when_nobody_reads_it(self, inside: Path) -> None:
        outlast("invoke", "mixed", cwd=inside)
        assert await unread("logs", "-f", cwd=inside) == (1, b"")


UNKNOWN = "outlast: no function 'mixt' is served (did you mean mixed?); there are mixed, locked"


class TestOfAFunctionThatThereIsNot:
    @pytest.mark.parametrize(
        "command",
        [
            ["tasks", "--function=mixt"],
            ["tasks", "--function=mixt", "--json"],
            ["tasks", "show", "--function=mixt"],
            ["logs", "--function=mixt"],
            ["ps", "--function=mixt"],
            ["invoke", "mixt/path?query"],
        ],
    )
    async def test_the_nearest_is_named(self, inside: Path, command: list[str]) -> None:
        assert outlast(*command, cwd=inside) == Result(1, "", f"{UNKNOWN}\n")

    @pytest.mark.parametrize("command", [["tasks", "--watch"], ["logs", "-f"]])
    async def test_it_may_still_be_made(self, inside: Path, command: list[str]) -> None:
        waiting = await started(*command, "--function=mixt", "--json", cwd=inside)
        assert waiting.stderr is not None
        async with asyncio.timeout(PATIENCE_S):
            assert await waiting.stderr.readline() == f"{UNKNOWN}; waiting for what it does\n".encode()
        waiting.terminate()
        assert (await waiting.communicate())[0] == b""

    async def test_one_that_was_deleted_has_records(self, node: Node, inside: Path) -> None:
        (inside / "leaving").mkdir()
        (inside / "leaving/index.ts").write_text(FUNCTIONS["mixed"])
        async with admin(node) as client:
            await client.post("/v1/reload")
            assert outlast("invoke", "leaving?good", "--wait", cwd=inside).code == 0
            shutil.rmtree(inside / "leaving")
            await client.post("/v1/reload")
            async with asyncio.timeout(PATIENCE_S):
                while (await client.get("/v1/functions/leaving")).status_code == 200:
                    pass
        assert outlast("ps", "--function=leaving", cwd=inside).code == 1
        [task] = outlast("tasks", "--function=leaving", "--json", cwd=inside).objects
        assert task["name"] == "good"
        rejected = outlast("tasks", "--function=leaving", "--outcome=rejected", "--json", cwd=inside)
        assert rejected == Result(0, "", "")
        assert outlast("logs", "--function=leaving", cwd=inside).code == 0


class TestWithoutANode:
    @pytest.mark.parametrize("command", [["tasks"], ["ps"], ["logs"], ["invoke", "hello"], ["tasks", "show", "x"]])
    async def test_there_is_none(self, tmp_path: Path, command: list[str]) -> None:
        result = outlast(*command, cwd=tmp_path)
        assert (result.code, result.out) == (2, "")
        assert "outlast serve" in result.err
        assert result.err.count("\n") == 1

    async def test_one_that_was_killed(self, tmp_path: Path) -> None:
        (tmp_path / ".outlast").mkdir()
        gone = {
            "url": "http://127.0.0.1:1",
            "admin_url": "http://127.0.0.1:1",
            "pid": 1,
            "started": "2024-01-01T00:00:00Z",
        }
        (tmp_path / ".outlast/node.json").write_text(json.dumps(gone))
        (tmp_path / ".outlast/admin-token").write_text("x" * 40)
        result = outlast("ps", cwd=tmp_path)
        assert result.code == 2
        assert "127.0.0.1:1" in result.err

    async def test_an_address_that_no_machine_can_have(self, node: Node, inside: Path) -> None:
        result = outlast("ps", "--admin-url=http://a..b:1", cwd=inside)
        assert result.code == 2
        assert "no server answers at http://a..b:1" in result.err

    async def test_a_wrong_token(self, node: Node, inside: Path) -> None:
        result = outlast("ps", cwd=inside, OUTLAST_ADMIN_TOKEN="x" * 40)
        assert result.code == 2
        assert "token" in result.err

    async def test_something_else_that_listens_there(self, node: Node, inside: Path) -> None:
        result = outlast("ps", f"--admin-url={node.url}", cwd=inside)
        assert result.code == 2
        assert "no server of Outlast" in result.err


class TestNew:
    @pytest.mark.parametrize(("lang", "file"), [("ts", "index.ts"), ("py", "main.py")])
    async def test_begins_a_function_that_works(self, tmp_path: Path, lang: str, file: str) -> None:
        result = outlast("new", "begun", f"--lang={lang}", cwd=tmp_path)
        assert result.code == 0
        written = tmp_path / "supabase/functions/begun" / file
        assert str(written) in result.out
        async with serving(tmp_path):
            answer, task = outlast("invoke", "begun", "--wait", "--json", cwd=tmp_path).objects
        assert answer["status"] == 202
        assert json.loads(answer["body"])["function"] == "begun"
        assert (task["name"], task["outcome"]) == ("follow-up", "fulfilled")

    async def test_writes_over_nothing(self, tmp_path: Path) -> None:
        assert outlast("new", "begun", "--lang=ts", cwd=tmp_path).code == 0
        again = outlast("new", "begun", "--lang=py", cwd=tmp_path)
        assert again.code == 2
        assert "exists already" in again.err
        assert not (tmp_path / "supabase/functions/begun/main.py").exists()

    @pytest.mark.parametrize("name", ["9lives", "a/b", "..", "_shared", "a b", "ä"])
    async def test_names_by_the_rule(self, tmp_path: Path, name: str) -> None:
        result = outlast("new", name, "--lang=ts", cwd=tmp_path)
        assert result.code == 2
        assert is_empty(tmp_path)

    async def test_into_no_function_s_own_folder(self, tmp_path: Path) -> None:
        assert outlast("new", "first", "--lang=py", cwd=tmp_path).code == 0
        own = tmp_path / "supabase/functions/first"
        result = outlast("new", "second", "--lang=py", cwd=own)
        assert result.code == 2
        assert str(own) in result.err
        assert [path.name for path in own.iterdir()] == ["main.py"]

    async def test_into_a_folder_of_functions(self, tmp_path: Path) -> None:
        (tmp_path / "first").mkdir()
        (tmp_path / "first/main.py").touch()
        assert outlast("new", "second", "--lang=py", cwd=tmp_path).code == 0
        assert (tmp_path / "second/main.py").exists()

"""What is done before the first worker, so that none has to do it itself."""

import asyncio
import dataclasses
import errno
import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.engines.deno_worker import ENV, PATIENCE_S, run

from outlast.config import settings
from outlast.engines.deno.engine import DenoEngine, DenoProgram
from outlast.engines.deno.rehearsal import NOTHING, Rehearsal
from outlast.engines.processes import Command, Result, Spawner, SpawnError
from outlast.sandbox.layers import available


@pytest.fixture
def folder() -> Iterator[Path]:
    """For sockets: its path is short."""
    made = Path(tempfile.mkdtemp(prefix="rehearsal-"))
    yield made
    shutil.rmtree(made)


@pytest_asyncio.fixture
async def spawner() -> AsyncIterator[Spawner]:
    spawner = Spawner()
    yield spawner
    await spawner.close()


_engines: list[DenoEngine] = []
"""Each keeps its cache open, as long as there is a reference to it."""


async def prepared(entrypoint: Path, spawner: Spawner) -> DenoProgram:
    """With a cache that nothing else has used."""
    project = settings.load(entrypoint.parents[1], environ={})
    engine = DenoEngine(
        run=spawner.run,
        state_dir=project.state_dir,
        functions_dir=project.functions_dir,
        root=project.root,
        environ={"PATH": os.environ["PATH"]},
        layers=available().for_walls,
    )
    _engines.append(engine)
    return await engine.prepare(project.functions["hello"])


class TestCompiledCode:
    async def test_a_worker_finds_that_of_all_that_it_loads(
        self, function: Callable[[str], Path], folder: Path, spawner: Spawner
    ) -> None:
        entrypoint = function('import { answer } from "./answer.ts"; Deno.serve(answer)')
        (entrypoint.parent / "answer.ts").write_text("export const answer = (): Response => new Response()")
        program = await prepared(entrypoint, spawner)
        told = await self.until_ready(program, folder, spawner)
        found = re.findall(r"V8 code cache hit for ES module: (\S+),", told)
        assert {name.rsplit("/")[-1] for name in found} >= {"bootstrap.ts", "00_serve.ts", "index.ts", "answer.ts"}
        assert not re.findall(r"Updating V8 code cache for ES module: (\S+),", told)

    async def test_it_is_found_whoever_else_has_closed_the_cache(
        self, function: Callable[[str], Path], folder: Path, spawner: Spawner
    ) -> None:
        entrypoint = function("Deno.serve(() => new Response())")
        program = await prepared(entrypoint, spawner)
        [file] = (entrypoint.parents[1] / ".outlast" / "deno").glob("v8_code_cache_v?")
        # As Deno does when it ends while no worker runs.
        other = sqlite3.connect(file)
        other.execute("select count(*) from sqlite_master").fetchone()
        other.close()
        assert "V8 code cache hit for ES module" in await self.until_ready(program, folder, spawner)

    async def test_it_is_not_looked_for_where_there_is_none(
        self, function: Callable[[str], Path], folder: Path, spawner: Spawner
    ) -> None:
        program = await prepared(function("Deno.serve(() => new Response())"), spawner)
        assert "--no-code-cache" not in program.command(folder, "x").argv
        assert "--no-code-cache" in dataclasses.replace(program, learnt=NOTHING).command(folder, "x").argv

    async def test_a_function_is_not_evaluated_for_it(self, function: Callable[[str], Path], spawner: Spawner) -> None:
        entrypoint = function('import "./first.ts"; Deno.serve(() => new Response())')
        (entrypoint.parent / "first.ts").write_text("while (true);")
        async with asyncio.timeout(PATIENCE_S):
            await prepared(entrypoint, spawner)

    async def until_ready(self, program: DenoProgram, folder: Path, spawner: Spawner) -> str:
        """What Deno says of itself until the worker, which has stood by, can take requests."""
        (folder / "tmp").mkdir()
        connected: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
        node = await asyncio.start_unix_server(lambda *streams: connected.put_nowait(streams), folder / "control.sock")
        command = program.command(folder, "x")
        argv = [{"--quiet": "--log-level=debug"}.get(argument, argument) for argument in command.argv]
        env = {**command.env, "DENO_LOG": "debug"}
        running = asyncio.create_task(spawner.run(dataclasses.replace(command, argv=argv, env=env)))
        async with node, asyncio.timeout(PATIENCE_S):
            reader, writer = await connected.get()
            writer.write(b'{"type":"ping","number":0}\n')
            assert b"pong" in await reader.readline()
            writer.write(b'{"type":"boot","function":"hello","entrypoint":"file:///hello/index.ts"}\n')
            assert b"ready" in await reader.readline()
            writer.write(b'{"type":"exit"}\n')
            told = await running
            writer.close()
        return told.err.decode()


class TestRehearsal:
    async def test_it_takes_place_once(self) -> None:
        commands = []

        async def count(command: Command) -> Result:
            commands.append(command)
            return await run(command)

        rehearsal = Rehearsal(count, ENV)
        first, second = await asyncio.gather(rehearsal.learnt(), rehearsal.learnt())
        assert first == second == await rehearsal.learnt()
        assert first.keeps_code
        assert len(commands) == 1

    async def test_what_keeps_it_from_taking_place_may_be_gone_the_next_time(self) -> None:
        in_the_way = [OSError(errno.ENOSPC, "No space left on device"), SpawnError("Too many open files")]

        async def run_at_last(command: Command) -> Result:
            if in_the_way:
                raise in_the_way.pop()
            return await run(command)

        rehearsal = Rehearsal(run_at_last, ENV)
        assert [await rehearsal.learnt() for _ in range(2)] == [NOTHING] * 2
        assert (await rehearsal.learnt()).keeps_code

    async def test_a_cache_that_cannot_be_written_keeps_nothing(self) -> None:
        assert not (await Rehearsal(run, {**ENV, "DENO_DIR": "/dev/null/deno"}).learnt()).keeps_code

    async def test_workers_do_without_what_it_does_not_find_out(self) -> None:
        async def fail(command: Command) -> Result:
            return Result(1, b"", b"no such option")

        assert await Rehearsal(fail, ENV).learnt() == NOTHING

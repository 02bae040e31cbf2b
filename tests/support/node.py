"""Runs `outlast serve` as a user would, and reads its log."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

Event = dict[str, Any]

DENO_DIR = Path(__file__).parents[2] / ".outlast" / "test-deno"
"""Shared by all tests, so that what comes from a registry is fetched once."""

CRASHES = (-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS, -signal.SIGILL)


class Node:
    """A served project. ``events`` holds all that was logged so far."""

    def __init__(self, process: asyncio.subprocess.Process, project: Path, drop: Callable[[bytes], bool]) -> None:
        self.process = process
        self.project = project
        self.dropped_bytes = 0
        """Of the lines that ``drop`` did not want."""
        self._drop = drop
        self.events: list[Event] = []
        self.stderr = ""
        self.url = ""
        self._is_over = False
        self._news = asyncio.Condition()
        self._reading = asyncio.gather(self._read_log(), self._read_stderr())

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        assert parts.port is not None
        return parts.hostname, parts.port

    def found(self, event: str | None = None, since: int = 0, **fields: object) -> list[Event]:
        """The events that have these fields, in order. A callable value is a test of the field."""
        return [entry for entry in self.events[since:] if _matches(entry, event, fields)]

    async def wait_for(
        self, event: str | None = None, *, count: int = 1, since: int = 0, timeout: float = 20, **fields: object
    ) -> Event:
        """Waits until ``count`` events have these fields; returns the last of them."""
        async with self._news:
            try:
                async with asyncio.timeout(timeout):
                    while len(found := self.found(event, since, **fields)) < count:
                        if self._is_over:
                            raise AssertionError(f"the node ended; no {event} {fields} in:\n{self.log_text()}")
                        await self._news.wait()
            except TimeoutError:
                raise AssertionError(f"no {event} {fields} in {timeout} s in:\n{self.log_text()}") from None
        return found[count - 1]

    def log_text(self) -> str:
        return (
            "\n".join(json.dumps(entry) for entry in self.events[-80:])
            + f"\n{self.stderr[-4000:]}\nexit code so far: {self.process.returncode}"
        )

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """Sends the signal; returns the exit code, once all of the log has been read."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        code = await asyncio.wait_for(self.process.wait(), 30)
        await self._reading
        return code

    async def _read_log(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            if self._drop(line):
                self.dropped_bytes += len(line)
                continue
            entry = json.loads(line)
            async with self._news:
                self.events.append(entry)
                self._news.notify_all()
        await self.process.wait()
        async with self._news:
            self._is_over = True
            self._news.notify_all()

    async def _read_stderr(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.stderr += line.decode()


def _matches(entry: Event, event: str | None, fields: Mapping[str, object]) -> bool:
    if event is not None and entry["event"] != event:
        return False
    for name, wanted in fields.items():
        value = entry.get(name)
        if callable(wanted):
            if value is None or not wanted(value):
                return False
        elif value != wanted:
            return False
    return True


@contextlib.asynccontextmanager
async def serving(
    project: Path,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    wait_until_ready: bool = True,
    drop: Callable[[bytes], bool] = lambda line: False,
    launcher: Sequence[str] = (),
    files: Sequence[int] = (),
) -> AsyncIterator[Node]:
    """Serves ``project`` on a free port. Leaving the block ends the node, which must not have complained on stderr.

    ``drop`` says of a line of the log whether it is counted alone, and not kept. ``launcher`` is a command that becomes
    the one given to it, and inherits ``files``.
    """
    process = await asyncio.create_subprocess_exec(
        *launcher,
        sys.executable,
        "-m",
        "outlast",
        "serve",
        str(project),
        "--port=0",
        "--log-format=json",
        # Several nodes run at once; each would rather have the usual port.
        *([] if any(argument.startswith("--admin-") for argument in arguments) else ["--admin-port=0"]),
        # The default is a database server for each, which most tests have no use for.
        *([] if any(argument.startswith("--database") for argument in arguments) else ["--database=off"]),
        *arguments,
        env={**os.environ, "DENO_DIR": str(DENO_DIR), **(env or {})},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=1 << 22,
        pass_fds=files,
    )
    node = Node(process, project, drop)
    try:
        if wait_until_ready:
            node.url = (await node.wait_for("ready"))["url"]
        yield node
        code = await node.stop()
        assert node.stderr == "", node.stderr
        assert not node.found("internal_error"), node.log_text()
        assert code not in CRASHES, node.log_text()
    except Exception as error:
        if node.stderr:
            error.add_note(f"The node wrote to stderr:\n{node.stderr[-4000:]}")
        raise
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def write_project(folder: Path, functions: Mapping[str, str], *, config: str = "", outlast: str = "") -> Path:
    """A project of these functions (source text by name, or by path below functions/); none needs a JWT by default."""
    supabase = folder / "supabase"
    sections = [config]
    for name, source in functions.items():
        path = supabase / "functions" / (name if "." in Path(name).name else f"{name}/index.ts")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        function = Path(name).parts[0]
        if not function.startswith("_") and f"[functions.{function}]" not in "\n".join(sections):
            sections.append(f"[functions.{function}]\nverify_jwt = false\n")
    (supabase / "config.toml").write_text("\n".join(sections))
    if outlast:
        (supabase / "outlast.toml").write_text(outlast)
    return folder

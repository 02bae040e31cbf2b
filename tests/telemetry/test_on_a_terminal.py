"""`outlast serve` on a terminal: what somebody sees who sits there."""

import asyncio
import os
import pty
import re
import signal
import sys
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from tests.support.node import DENO_DIR, write_project

PATIENCE_S = 30
COLOUR = re.compile(r"\x1b\[[\d;]*m")
LINE = re.compile(
    r"\d\d:\d\d:\d\d\.\d{3}  (?P<function>\S+) +(?P<worker>[0-9a-f]{4}|    )  (?P<event>\w+) *(?:  (?P<text>.*))?"
)
FOLD = " " * 16

TYPESCRIPT = """
function check(): never {
  throw new TypeError("no such customer");
}
const pause = (ms: number) => new Promise((done) => setTimeout(done, ms));
Deno.serve(() => {
  console.warn("two\\nlines \\x1b[2J");
  EdgeRuntime.waitUntil(pause(1).then(check), { name: "failing" });
  EdgeRuntime.waitUntil((async () => {
    await pause(20);
    console.log("after the response");
    for (;;);
  })(), { name: "endless" });
  return new Response("ok");
});
"""
PYTHON = """
import asyncio, sys
from outlast import EdgeRuntime, Request, Response, serve

async def check() -> None:
    raise TypeError("no such customer")

async def endless() -> None:
    await asyncio.sleep(0.02)
    print("after the response")
    while True:
        pass

@serve
async def handler(_: Request) -> Response:
    print("two\\nlines \\x1b[2J", file=sys.stderr)
    EdgeRuntime.wait_until(check(), name="failing")
    EdgeRuntime.wait_until(endless(), name="endless")
    return Response("ok")
"""
LIMITS = "[limits]\ncpu_soft_ms = 0\ncpu_hard_ms = 150\n[scale]\nstandby = 0\n"


class Terminal:
    """What `outlast serve` has written to one."""

    def __init__(self) -> None:
        self.text = ""
        self._master, self.slave = pty.openpty()
        self._news = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._master, self._read)

    def _read(self) -> None:
        try:
            self.text += os.read(self._master, 65_536).decode()
        except OSError:
            # Nobody has the other end open any more.
            asyncio.get_running_loop().remove_reader(self._master)
        self._news.set()

    async def shows(self, pattern: str) -> re.Match[str]:
        async with asyncio.timeout(PATIENCE_S):
            while (found := re.search(pattern, COLOUR.sub("", self.text))) is None:
                self._news.clear()
                await self._news.wait()
        return found

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def screen(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """All that was shown, from the start of the server to its end; both functions were called once."""
    functions = {"typescript": TYPESCRIPT, "python/main.py": PYTHON}
    folder = write_project(tmp_path_factory.mktemp("terminal"), functions, outlast=LIMITS)
    terminal = Terminal()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "outlast", "serve", str(folder), "--port=0", "--admin-port=0", "--database=off"),
        stdin=terminal.slave,
        stdout=terminal.slave,
        stderr=terminal.slave,
        env={**os.environ, "DENO_DIR": str(DENO_DIR), "TERM": "xterm-256color", "NO_COLOR": ""},
    )
    os.close(terminal.slave)
    try:
        url = (await terminal.shows(r"listening on (http://[\d.:]+)"))[1]
        async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_S) as client:
            for function in ("typescript", "python"):
                assert (await client.get(f"/{function}")).text == "ok"
                await terminal.shows(rf"{function} .*shutdown .*\(cpu\)")
        process.send_signal(signal.SIGINT)
        await asyncio.wait_for(process.wait(), PATIENCE_S)
        yield terminal.text.replace("\r\n", "\n")
    finally:
        if process.returncode is None:
            process.kill()
        terminal.close()


def lines_of(screen: str, function: str) -> list[tuple[str, str, str, list[str]]]:
    """Of each event: worker, name, text, and what is folded under it."""
    found: list[tuple[str, str, str, list[str]]] = []
    for line in COLOUR.sub("", screen).splitlines():
        if (event := LINE.fullmatch(line)) is not None:
            folded: list[str] = []
            if event["function"] == function:
                found.append((event["worker"], event["event"], event["text"] or "", folded))
        else:
            folded.append(line.removeprefix(FOLD))
    return found


def test_every_event_is_one_aligned_line_and_what_is_longer_is_folded(screen: str) -> None:
    lines = COLOUR.sub("", screen).splitlines()
    assert all(LINE.fullmatch(line) or line.startswith(FOLD) for line in lines), lines
    events = [event for line in lines if (event := LINE.fullmatch(line)) is not None]
    assert len({event.start("event") for event in events}) == 1


def test_only_the_colours_of_the_log_itself_reach_the_terminal(screen: str) -> None:
    assert COLOUR.search(screen)
    assert "\x1b" not in COLOUR.sub("", screen)
    for level, colour in (("warning", "33"), ("task", "1;31"), ("boot", "36")):
        assert re.search(rf"\x1b\[{colour}m{level} *\x1b\[0m", screen), level


@pytest.mark.parametrize("language", ["typescript", "python"])
def test_what_happened_and_whose_it_was(screen: str, language: str) -> None:
    events = lines_of(screen, language)
    assert len({worker for worker, *_ in events}) == 1
    told = [(event, re.sub(r"[\d.,]+ (ms|s)\b", "N", text)) for _, event, text, _ in events]
    for event, text in (
        ("boot", "started in N"),
        ("task", '"failing" rejected after N: TypeError: no such customer'),
        # It never yields after that line, and is killed.
        ("log", "after the response"),
    ):
        assert (event, text) in told
    assert any(event == "request" and re.match(rf"GET /{language} 200 in N", text) for event, text in told)
    assert any(event == "task" and text.startswith('"endless" interrupted after N (cpu): ') for event, text in told)
    [stack] = [folded for _, event, text, folded in events if event == "task" and "failing" in text]
    assert any("check" in line for line in stack)
    [printed] = [folded for _, _, text, folded in events if text == "two"]
    assert printed == ["lines \\x1b[2J"]

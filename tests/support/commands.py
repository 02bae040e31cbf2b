"""`outlast`, run in the process of the tests: starting one of its own takes most of the time otherwise."""

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO
from unittest import mock

import pytest

from outlast.cli import main

PATIENCE_S = 60


@dataclass(frozen=True)
class Result:
    """Of a command."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """Of ``--json``."""
        return [json.loads(line) for line in self.out.splitlines()]


def run(*arguments: str, cwd: Path = Path(), stdin: str = "", env: Mapping[str, str] = os.environ) -> Result:
    """Runs a command to its end. Not for two at once: meanwhile folder, environment and streams are the command's."""
    with contextlib.ExitStack() as stack:
        out, err = (stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8")) for _ in range(2))
        given = io.TextIOWrapper(io.BytesIO(stdin.encode()), encoding="utf-8")
        for name, value in (("argv", ["outlast", *arguments]), ("stdin", given), ("stdout", out), ("stderr", err)):
            stack.enter_context(mock.patch.object(sys, name, value))
        stack.enter_context(mock.patch.dict(os.environ, {**env}, clear=True))
        stack.enter_context(contextlib.chdir(cwd))
        with pytest.raises(SystemExit) as ended:
            main()
        code: Any = ended.value.code
        return Result(int(code or 0), _written(out), _written(err))


def run_apart(*command: str) -> Result:
    """Runs a whole command line to its end, in a process of its own."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    return Result(done.returncode, done.stdout, done.stderr)


def _written(stream: TextIO) -> str:
    stream.seek(0)
    return stream.read()

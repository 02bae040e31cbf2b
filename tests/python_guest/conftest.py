import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

IMPORTS = """
import asyncio, json, logging, os, sys, threading, time, traceback, warnings
from outlast import EdgeRuntime, Request, Response, add_event_listener, serve
"""


@pytest.fixture
def function(tmp_path: Path) -> Callable[[str], Path]:
    """Writes the file of a function called ``hello``, all that it needs imported, and returns its path."""

    def make(source: str) -> Path:
        folder = tmp_path / "hello"
        folder.mkdir(exist_ok=True)
        (folder / "main.py").write_text(IMPORTS + textwrap.dedent(source))
        return folder / "main.py"

    return make

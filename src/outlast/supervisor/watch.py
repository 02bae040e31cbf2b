"""Notices changes to the files of a project."""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import watchfiles

from outlast.config.files import resolved

DEBOUNCE_MS = 200
"""The longest that a series of changes is collected."""
STEP_MS = 100
"""The silence that ends a series. watchfiles also looks this often, which is most of what an idle node does."""
LAST_WORDS_S = 2.0
"""How long a watcher that was replaced has for what it had found before."""
CLOCK_STEP_S = 0.02
"""Of the clock that file systems go by, at most: it lags behind."""

_Folders = frozenset[tuple[Path, int]]
"""With their inode numbers, which tell a folder from its successor."""


class _Term:
    """The time that a watcher is the only one that tells of its folders."""

    def __init__(self) -> None:
        self.over = math.inf
        """Since the epoch."""

    def holds(self, path: Path) -> bool:
        """Whether the change of this path fell into it, as far as can be told."""
        if self.over == math.inf:
            return True
        with contextlib.suppress(OSError):
            return path.lstat().st_ctime < self.over + CLOCK_STEP_S
        return True


class _Watcher(NamedTuple):
    folders: _Folders
    term: _Term
    task: asyncio.Task[None]


class Watch:
    """Watches a folder with all that is below it, and single files wherever they are.

    ``on_trouble`` is called with the reason if the system cannot report changes.
    """

    def __init__(self, folder: Path | None, *, ignored: Path, on_trouble: Callable[[str], None]) -> None:
        """``ignored``: a folder in which changes do not count."""
        self._folder = folder
        self._ignored = ignored
        self._on_trouble = on_trouble
        self._loop = asyncio.get_running_loop()
        self._files: frozenset[Path] = frozenset()
        self._found: asyncio.Queue[set[Path]] = asyncio.Queue()
        self._watchers: dict[bool, _Watcher] = {}
        """One for whole trees (True), and one for what lies directly in a folder (False)."""
        self._running: set[asyncio.Task[None]] = set()
        """Those, and some that were replaced a moment ago."""

    async def files(self, files: Iterable[Path]) -> None:
        """Replaces the single files to watch, which need not exist. They are watched once this returns."""
        self._files = frozenset(files)
        await self._renew()

    async def changes(self) -> AsyncGenerator[set[Path], None]:
        """Yields what changed, as it was named and with its links resolved. Ends only by being cancelled."""
        try:
            while True:
                changed = await self._found.get()
                # A folder may be new, or another one of the same name.
                await self._renew()
                yield changed
        finally:
            for task in self._running:
                task.cancel()

    async def _renew(self) -> None:
        """What changes once this has returned is noticed."""
        # An editor may replace a file by another one of its name, so what is watched is the folder.
        beside = {file.parent for file in self._files}
        trees: set[Path] = set()
        if self._folder is not None:
            trees = {self._folder, *_linked_folders(self._folder)}
            # It goes and comes again when a branch without it is checked out.
            beside.add(self._folder.parent)
        whole = _present(trees)
        # A second watcher of the same folder would report each change again, and reload the function twice.
        beside = {folder for folder in beside if not any(folder.is_relative_to(tree) for tree, _ in whole)}
        replaced = list[_Watcher]()
        for deep, folders in ((True, whole), (False, _present(beside))):
            before = self._watchers.get(deep)
            if before is not None and before.folders == folders:
                continue
            term = _Term()
            task = self._loop.create_task(self._watch(folders, deep, term))
            self._watchers[deep] = _Watcher(folders, term, task)
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            if before is not None:
                replaced.append(before)
        # A watcher has asked the system for its folders before it waits for the first time. It may be one that another
        # call has begun.
        await asyncio.sleep(0)
        for before in replaced:
            # It tells what has changed until the new one had begun.
            before.term.over = time.time()
            self._loop.call_later(LAST_WORDS_S, before.task.cancel)

    async def _watch(self, folders: _Folders, deep: bool, term: _Term) -> None:
        if not folders:
            return
        try:
            async for found in watchfiles.awatch(
                *(folder for folder, _ in folders), recursive=deep, debounce=DEBOUNCE_MS, step=STEP_MS, rust_timeout=0
            ):
                self._report({path for _, name in found if term.holds(path := Path(name))}, deep)
        except OSError as error:
            self._on_trouble(f"changes of files are not noticed: {error}")

    def _report(self, named: set[Path], deep: bool) -> None:
        if not deep:
            named &= {*self._files, self._folder}
        counting = {path for path in named if self._ignored != path and self._ignored not in path.parents}
        if counting:
            self._found.put_nowait(counting | {resolved(path) for path in counting})


def _present(folders: Iterable[Path]) -> _Folders:
    present = set()
    for folder in folders:
        with contextlib.suppress(OSError):
            if folder.is_dir():
                present.add((folder, folder.stat().st_ino))
    return frozenset(present)


def _linked_folders(folder: Path) -> Iterable[Path]:
    """The targets of functions that are links to folders elsewhere."""
    with contextlib.suppress(OSError):
        for entry in folder.iterdir():
            if entry.is_symlink() and entry.is_dir():
                yield resolved(entry)

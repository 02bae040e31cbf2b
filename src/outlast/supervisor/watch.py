"""Notices changes of the files that a project is made of."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterable
from pathlib import Path

import watchfiles

DEBOUNCE_MS = 150
"""The longest that a series of changes is collected."""
STEP_MS = 30
"""The silence that ends a series."""


class Watch:
    """Watches a folder with all that is below it, and single files wherever they are."""

    def __init__(self, folder: Path, ignored: Path) -> None:
        """``ignored``: a folder whose changes do not count."""
        self._folder = folder
        self._ignored = ignored
        self._files: frozenset[Path] = frozenset()
        self._linked: frozenset[Path] = frozenset()
        self._again = asyncio.Event()

    def files(self, files: Iterable[Path]) -> None:
        """From now on these are the single files. They need not exist."""
        wanted = frozenset(file for file in files if self._folder not in file.parents)
        linked = frozenset(_linked_folders(self._folder))
        if (wanted, linked) != (self._files, self._linked):
            self._files, self._linked = wanted, linked
            self._again.set()

    async def changes(self) -> AsyncGenerator[set[Path], None]:
        """Yields what changed, as it was named and with its links resolved. Ends only by being cancelled."""
        changed: asyncio.Queue[set[Path]] = asyncio.Queue()
        while True:
            self._again.clear()
            # A file that an editor replaces is another one then, so its folder is watched, but not what is below that.
            parents = {file.parent for file in self._files if file.parent.is_dir()}
            watchers = [
                asyncio.ensure_future(self._watch(changed, {self._folder, *self._linked}, recursive=True)),
                asyncio.ensure_future(self._watch(changed, parents, recursive=False)),
            ]
            again = asyncio.ensure_future(self._again.wait())
            try:
                while not again.done():
                    get = asyncio.ensure_future(changed.get())
                    await asyncio.wait([get, again, *watchers], return_when=asyncio.FIRST_COMPLETED)
                    if get.done():
                        yield get.result()
                    else:
                        get.cancel()
                    for watcher in watchers:
                        if watcher.done():
                            watcher.result()
            finally:
                for task in (*watchers, again):
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await task

    async def _watch(self, changed: asyncio.Queue[set[Path]], folders: set[Path], *, recursive: bool) -> None:
        if not folders:
            await asyncio.Event().wait()
        async for found in watchfiles.awatch(
            *folders, recursive=recursive, debounce=DEBOUNCE_MS, step=STEP_MS, raise_interrupt=False
        ):
            paths = {Path(path) for _, path in found}
            paths = {path for path in paths if self._ignored not in path.parents and path != self._ignored}
            if not recursive:
                paths &= self._files
            if paths:
                changed.put_nowait(paths | {path.resolve() for path in paths})


def _linked_folders(folder: Path) -> Iterable[Path]:
    """Folders that functions are links to: their files are below another place."""
    if folder.is_dir():
        for entry in folder.iterdir():
            if entry.is_symlink() and entry.is_dir():
                yield entry.resolve()

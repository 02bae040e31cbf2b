"""Which changes are noticed, and which are nobody's business."""

import asyncio
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import watchfiles

from outlast.supervisor.watch import CLOCK_STEP_S, Watch

PATIENCE_S = 20


class Watched:
    """What has been noticed so far."""

    def __init__(self) -> None:
        self.seen: set[Path] = set()
        self.times: Counter[Path] = Counter()
        self.troubles: list[str] = []
        self._news = asyncio.Event()

    async def sees(self, *paths: Path) -> None:
        """Waits for one of them."""
        async with asyncio.timeout(PATIENCE_S):
            while self.seen.isdisjoint(paths):
                self._news.clear()
                await self._news.wait()

    def add(self, paths: set[Path]) -> None:
        self.seen |= paths
        self.times.update(paths)
        self._news.set()


@pytest.fixture
def functions(tmp_path: Path) -> Path:
    folder = tmp_path.resolve() / "project/functions"
    (folder / "hello").mkdir(parents=True)
    (folder / "hello/index.ts").write_text("")
    return folder


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path.resolve() / "outside"
    folder.mkdir()
    return folder


@asynccontextmanager
async def watching(folder: Path | None, *files: Path, ignored: Path = Path("/nowhere")) -> AsyncIterator[Watched]:
    watched = Watched()
    watch = Watch(folder, ignored=ignored, on_trouble=watched.troubles.append)
    await watch.files(files)

    async def follow() -> None:
        async for paths in watch.changes():
            watched.add(paths)

    following = asyncio.create_task(follow())
    try:
        yield watched
    finally:
        following.cancel()
        await asyncio.wait([following])
    assert watched.troubles == []


async def test_a_change_right_after_the_start(functions: Path) -> None:
    async with watching(functions) as watched:
        (functions / "hello/index.ts").write_text("1")
        await watched.sees(functions / "hello/index.ts")


async def test_new_folders_and_what_is_in_them(functions: Path) -> None:
    async with watching(functions) as watched:
        (functions / "new").mkdir()
        await watched.sees(functions / "new")
        (functions / "new/index.ts").write_text("1")
        await watched.sees(functions / "new/index.ts")


async def test_the_folder_itself_goes_and_comes_again(functions: Path) -> None:
    async with watching(functions) as watched:
        shutil.move(functions, functions.with_name("away"))
        await watched.sees(functions)
        watched.seen.clear()
        shutil.copytree(functions.with_name("away"), functions)
        await watched.sees(functions)
        watched.seen.clear()
        file = functions / "hello/index.ts"
        file.write_text("1")
        # That was the news of its going once more, if those of its coming are only now to follow.
        await watched.sees(functions, file)
        watched.seen.clear()
        file.write_text("2")
        await watched.sees(file)


async def test_a_folder_that_comes_later(functions: Path) -> None:
    later = functions.parent / "later"
    async with watching(later) as watched:
        later.mkdir()
        await watched.sees(later)
        (later / "file").write_text("1")
        await watched.sees(later / "file")


async def test_single_files_wherever_they_are(functions: Path, outside: Path) -> None:
    (outside / "lib.ts").write_text("")
    async with watching(functions, outside / "lib.ts") as watched:
        (outside / "other.ts").write_text("1")
        (outside / "lib.ts").write_text("1")
        await watched.sees(outside / "lib.ts")
        assert outside / "other.ts" not in watched.seen


async def test_a_single_file_in_the_folder_is_told_of_once(functions: Path, outside: Path) -> None:
    file = functions / "hello/index.ts"
    async with watching(functions, file, outside / ".env") as watched:
        file.write_text("1")
        await watched.sees(file)
        # Whatever there is to say of the first change has been said by then.
        (outside / ".env").write_text("A=1")
        await watched.sees(outside / ".env")
        assert watched.times[file] == 1


async def test_a_single_file_that_is_replaced_or_comes_into_being(functions: Path, outside: Path) -> None:
    async with watching(functions, outside / ".env") as watched:
        (outside / ".env").write_text("A=1")
        await watched.sees(outside / ".env")
        watched.seen.clear()
        (outside / "new").write_text("A=2")
        (outside / "new").replace(outside / ".env")
        await watched.sees(outside / ".env")


async def test_what_links_lead_to_by_both_of_its_names(functions: Path, outside: Path) -> None:
    (functions / "linked").symlink_to(outside)
    async with watching(functions) as watched:
        (outside / "index.ts").write_text("1")
        await watched.sees(outside / "index.ts")


async def test_a_link_that_is_new(functions: Path, outside: Path) -> None:
    async with watching(functions) as watched:
        (functions / "linked").symlink_to(outside)
        await watched.sees(functions / "linked")
        (outside / "index.ts").write_text("1")
        await watched.sees(outside / "index.ts")


async def test_a_change_right_after_the_news_of_its_folder(functions: Path, outside: Path) -> None:
    watch = Watch(functions, ignored=Path("/nowhere"), on_trouble=pytest.fail)
    await watch.files(())
    (functions / "linked").symlink_to(outside)
    async with asyncio.timeout(PATIENCE_S):
        async for paths in watch.changes():
            if functions / "linked" in paths:
                # Whoever hears of it reads what is there, before the event loop has another turn.
                (outside / "index.ts").write_text("1")
            if outside / "index.ts" in paths:
                break


async def test_a_link_to_itself_that_is_there_and_one_that_is_new(functions: Path) -> None:
    (functions / "old").symlink_to("old")
    async with watching(functions) as watched:
        (functions / "new").symlink_to("new")
        await watched.sees(functions / "new")
        (functions / "hello/index.ts").write_text("1")
        await watched.sees(functions / "hello/index.ts")


async def test_the_ignored_folder_and_what_editors_leave(functions: Path) -> None:
    state = functions / ".outlast"
    async with watching(functions, ignored=state) as watched:
        state.mkdir()
        (state / "cache").write_text("1")
        (functions / "hello/.index.ts.swp").write_text("1")
        (functions / "hello/index.ts~").write_text("1")
        (functions / "hello/index.ts").write_text("1")
        await watched.sees(functions / "hello/index.ts")
        assert not [path for path in watched.seen if state in (path, *path.parents) or path.name.endswith(("p", "~"))]


async def test_no_change_between_two_sets_of_files_goes_unseen(functions: Path, outside: Path) -> None:
    watched = Watched()
    watch = Watch(functions, ignored=Path("/nowhere"), on_trouble=watched.troubles.append)
    await watch.files([outside / "0"])

    async def follow() -> None:
        async for paths in watch.changes():
            watched.add(paths)

    following = asyncio.create_task(follow())
    for number in range(10):
        beside = outside / f"{number}"
        beside.mkdir()
        (functions / f"hello/{number}.ts").write_text("1")
        await watch.files([outside / "0", beside / "lib.ts"])
        await watched.sees(functions / f"hello/{number}.ts")
    following.cancel()
    await asyncio.wait([following])


async def test_a_change_right_before_another_set_of_files_is_told_of_and_once(functions: Path, outside: Path) -> None:
    file, other = outside / "a/lib.ts", outside / "b/lib.ts"
    for folder in (file.parent, other.parent):
        folder.mkdir()
    watched = Watched()
    watch = Watch(functions, ignored=Path("/nowhere"), on_trouble=watched.troubles.append)
    await watch.files([file, other])

    async def follow() -> None:
        async for paths in watch.changes():
            watched.add(paths)

    following = asyncio.create_task(follow())
    file.write_text("1")
    await watch.files([file])
    await watched.sees(file)
    watched.seen.clear()
    file.write_text("2")
    await watched.sees(file)
    (functions / "hello/index.ts").write_text("1")
    await watched.sees(functions / "hello/index.ts")
    assert watched.times[file] == 2
    following.cancel()
    await asyncio.wait([following])


async def test_a_change_as_the_next_watcher_begins(
    functions: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To ask the system for the folders of a large project takes a while."""
    file, begin = outside / "lib.ts", watchfiles.awatch
    watch = Watch(functions, ignored=Path("/nowhere"), on_trouble=pytest.fail)
    await watch.files([file])

    def begin_slowly(*folders: Path, **options: Any) -> AsyncIterator[set[watchfiles.main.FileChange]]:
        time.sleep(2 * CLOCK_STEP_S)
        file.write_text("1")
        return begin(*folders, **options)

    monkeypatch.setattr("watchfiles.awatch", begin_slowly)
    await watch.files([file, outside.parent / ".env"])
    async with asyncio.timeout(PATIENCE_S):
        assert file in await anext(watch.changes())


async def test_without_a_folder_only_the_files_count(functions: Path) -> None:
    async with watching(None, functions / "hello/index.ts") as watched:
        (functions / "hello/other.ts").write_text("1")
        (functions / "hello/index.ts").write_text("1")
        await watched.sees(functions / "hello/index.ts")
        assert watched.seen == {functions / "hello/index.ts"}


async def test_what_the_system_cannot_watch_is_told(functions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: object, **__: object) -> None:
        raise OSError("OS file watch limit reached")

    monkeypatch.setattr("watchfiles.awatch", none_left)
    told: list[str] = []
    watch = Watch(functions, ignored=Path("/nowhere"), on_trouble=told.append)
    await watch.files(())
    assert "limit reached" in told[0]

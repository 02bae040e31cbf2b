"""The pytest plugin. It is loaded wherever Outlast is installed, and costs nothing if no test uses it."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from outlast.testing.asking import Asking
    from outlast.testing.asynchronous import Outlast
    from outlast.testing.server import Server
    from outlast.testing.synchronous import SyncOutlast

MARKER = (
    "outlast(function=None, *, limits, scale, log, env, oneshot_background, policy): settings that override the "
    "project's files for the test, for one function or for all"
)
FUNCTIONS = Path("supabase", "functions")
_asking: pytest.StashKey[Asking] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "the project whose functions the tests call: what `outlast serve` is given"
    parser.getgroup("outlast").addoption("--outlast-project", metavar="DIR", help=text)
    parser.addini("outlast_project", f"{text}; relative to this file")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARKER)


@pytest.fixture(scope="session")
def outlast_settings() -> Mapping[str, Any]:
    """Settings for all tests, which override the project's files. Redefine it in conftest.py."""
    return {}


@pytest.fixture(scope="session")
def outlast_server(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory, outlast_settings: Mapping[str, Any]
) -> Iterator[Server]:
    """The server that all tests of the session call: `url`, `anon_key`."""
    with _said_plainly(), _installed():
        from outlast.testing import server
    project = _project(pytestconfig)
    with ExitStack() as stack:
        with _said_plainly():
            found = stack.enter_context(server.Server(project, tmp_path_factory.mktemp("outlast") / "log"))
            stack.enter_context(found.settings(outlast_settings))
        yield found


@pytest.fixture
def _outlast_asking(request: pytest.FixtureRequest, outlast_server: Server) -> Iterator[Asking]:
    from outlast.testing import given
    from outlast.testing.asking import Asking

    node: pytest.Item = request.node
    asking = node.stash[_asking] = Asking(outlast_server)
    with ExitStack() as stack:
        with _said_plainly():
            # The closest marker comes first in iter_markers; applied last, it overrides the others.
            for marker in reversed([*node.iter_markers("outlast")]):
                stack.enter_context(outlast_server.settings(given.settings(*marker.args, **marker.kwargs)))
        yield asking


@pytest.fixture
def outlast(_outlast_asking: Asking) -> Outlast:
    """The served project: calls its functions and knows the outcomes of their tasks. For async tests."""
    from outlast.testing.asynchronous import Outlast

    return Outlast(_outlast_asking)


@pytest.fixture
def outlast_sync(_outlast_asking: Asking) -> SyncOutlast:
    """The same as `outlast`, for sync tests."""
    from outlast.testing.synchronous import SyncOutlast

    return SyncOutlast(_outlast_asking)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    asking = item.stash.get(_asking, None)
    if asking is not None and report.failed:
        from outlast.testing.errors import Failure
        from outlast.testing.transport import carry_out

        try:
            text = carry_out(asking.report())
        except Failure:
            text = asking.server.last_lines()
        if text:
            report.sections.append(("outlast log", text))
    return report


@contextmanager
def _installed() -> Iterator[None]:
    from outlast.testing.errors import Failure

    try:
        yield
    except ModuleNotFoundError as error:
        raise Failure(f"{error}; the fixtures of Outlast take: pip install 'outlast[testing]'") from error


@contextmanager
def _said_plainly() -> Iterator[None]:
    """Reports why a test cannot be set up in words, without a traceback."""
    from outlast.testing.errors import Failure

    try:
        yield
    except Failure as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None


def _project(config: pytest.Config) -> Path:
    here = config.invocation_params.dir
    # What is named on the command line may be somewhere else: a folder, a file, `file::test`.
    tests = [here / argument.partition("::")[0] for argument in config.args]
    if named := config.getoption("--outlast-project"):
        return here / str(named)
    if named := config.getini("outlast_project"):
        return (config.inipath.parent if config.inipath is not None else config.rootpath) / str(named)
    for place in (here, config.rootpath, *tests):
        for folder in (place, *place.parents):
            if (folder / FUNCTIONS).is_dir():
                return folder
    pytest.fail(
        f"there is no {FUNCTIONS} in {here} or a folder above it; name the project with --outlast-project=DIR, or "
        "with outlast_project in pytest's settings",
        pytrace=False,
    )

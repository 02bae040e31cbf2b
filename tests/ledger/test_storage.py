"""Which requests are recorded, and what is made of `--database`."""

import asyncio
import getpass
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.ledger import samples
from tests.ledger.node import session
from tests.support.postgres import Server

from outlast import storage
from outlast.config import settings
from outlast.core.errors import OutlastError
from outlast.core.records import RequestQuery
from outlast.database import choice
from outlast.gateway.ports import Served
from outlast.ledger import trouble
from outlast.storage import Storage
from outlast.telemetry.logs import Format, Log

PATIENCE_S = 20


@pytest.fixture
def project(tmp_path: Path) -> settings.Project:
    functions = tmp_path / "supabase" / "functions" / "hello"
    functions.mkdir(parents=True)
    (functions / "index.ts").touch()
    (functions.parents[1] / "outlast.toml").write_text("[ledger]\nrequests_per_s = 3\n")
    return settings.load(tmp_path, environ={})


def served(status: int) -> Served:
    return Served(function="hello", request_id=samples.new_id(), method="GET", path="/hello", status=status, ms=1.0)


def log() -> Log:
    return Log(io.StringIO().write, format=Format.JSON)


async def what_is_said_of(database: str, project: settings.Project) -> str:
    """By the first line of the log."""
    said: asyncio.Queue[str] = asyncio.Queue()
    storing = Storage(database, project, Log(said.put_nowait, format=Format.JSON))
    async with asyncio.timeout(PATIENCE_S):
        line = json.loads(await said.get())
    await storing.close()
    assert (line["event"], line["level"]) == ("ledger", "warning")
    return str(line["msg"])


async def test_so_many_a_second_and_all_that_failed(project: settings.Project, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = [1_000.0, 1_000.9, 1_001.0]
    storing = Storage(choice.OFF, project, log())
    for second in seconds:
        monkeypatch.setattr(storage.time, "time", lambda second=second: second)
        for status in (200, 200, 200, 200, 200, 500, 0):
            if storing.samples(status):
                storing.request_served(served(status))
    found = (await storing.ledger.requests(RequestQuery())).items
    assert [record.status for record in found].count(200) == 2 * 3
    assert len(found) == 2 * 3 + 2 * 3
    assert {record.first_byte_ms for record in found if record.status == 0} == {None}
    await storing.close()


@pytest.mark.parametrize("database", ["", "of", "mysql://localhost/x", "/tmp/x", "postgresql://[::1/x"])
async def test_what_is_no_database(project: settings.Project, database: str) -> None:
    with pytest.raises(OutlastError, match=r"neither embedded nor off nor a URL|is no URL"):
        Storage(database, project, log())


@pytest.mark.parametrize("hosts", ["127.0.0.1:port", "127.0.0.1:65536", "[::1]:5432,127.0.0.1:70000"])
async def test_what_is_no_port(project: settings.Project, hosts: str) -> None:
    with pytest.raises(OutlastError, match=rf"^'{re.escape(hosts)}/x' is no URL: Port "):
        Storage(f"postgresql://outlast:pass%40word@{hosts}/x", project, log())


@pytest.mark.parametrize("password", ["my#word", "12#34", "my/word", "my?word", "my@word", "my[word"])
async def test_a_password_that_is_not_as_in_a_url_is_told_how_to_be_one_and_not_shown(
    project: settings.Project, password: str
) -> None:
    with pytest.raises(OutlastError) as refusal:
        Storage(f"postgresql://outlast:{password}@db:5432/x", project, log())
    assert "what stands before 'db:5432/x' cannot be told apart: " in str(refusal.value)
    assert "my" not in str(refusal.value)
    Storage("postgresql://outlast:my%23word@db:5432/x?user=somebody@example.com", project, log())


@pytest.mark.parametrize("hosts", ["", "localhost", "127.0.0.1:65535", "[::1]:5432,127.0.0.1"])
async def test_what_is_a_host(project: settings.Project, hosts: str) -> None:
    Storage(f"postgresql://outlast:pass%40word@{hosts}/x", project, log())


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (lambda url: url.replace("outlast:", "outlast:not"), "password authentication failed"),
        (lambda url: url.replace("/test_", "/no_test_"), "does not exist"),
        (lambda url: f"{url}?sslmode=nonsense", "its URL cannot be used: `sslmode`"),
        (lambda _: "postgresql:///x?host=a,", "its URL cannot be used: "),
        (lambda _: "postgresql:///?service=with_a_sign", "its service file cannot be used: InterpolationSyntaxError"),
    ],
)
async def test_what_waiting_will_not_mend_is_told_at_once(
    project: settings.Project,
    postgres: Server,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    changed: Callable[[str], str],
    named: str,
) -> None:
    services = tmp_path / "services"
    services.write_text("[with_a_sign]\npassword = 10%off\n")
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    monkeypatch.setattr(storage, "FIRST_PATIENCE_S", 3600.0)
    said = await what_is_said_of(changed(await postgres.new_database()), project)
    assert re.match(rf"the ledger's database cannot be used \(.*{named}.*\): records wait in memory", said), said
    # Of the password in the service file.
    assert "off" not in said


async def test_what_the_url_should_not_have_or_a_file_that_it_names_is_the_remedy(
    project: settings.Project, postgres: Server
) -> None:
    url = await postgres.new_database()
    said = await what_is_said_of(f"{url}?connect_timeout=10", project)
    assert said.endswith(". What PostgreSQL does not know has to be left out of the URL"), said
    said = await what_is_said_of(f"{url}?sslmode=verify-full&sslrootcert=/nowhere/ca.pem", project)
    assert said.endswith("such as sslrootcert"), said


async def test_a_user_without_a_name_needs_one_in_the_url(
    project: settings.Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_name() -> str:
        raise KeyError(f"getpwuid(): uid not found: {4321}")

    monkeypatch.setattr(getpass, "getuser", no_name)
    said = await what_is_said_of("postgresql://127.0.0.1/x", project)
    assert "cannot be used (its URL cannot be used: 'getpwuid(): uid not found: 4321')" in said


async def test_a_user_who_may_not_make_the_schema_is_told_at_once(
    project: settings.Project, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "FIRST_PATIENCE_S", 3600.0)
    url = await postgres.new_database()
    async with session(url) as connection:
        await connection.execute("create role passer_by login password 'visiting'")
    said = await what_is_said_of(f"postgresql://passer_by:visiting@{url.partition('@')[2]}", project)
    assert "cannot be brought up to date: permission denied" in said


async def test_a_database_that_was_never_in_reach_is_told_of_soon(
    project: settings.Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trouble, "PATIENCE_S", 3600.0)
    monkeypatch.setattr(storage, "FIRST_PATIENCE_S", 0.1)
    said = await what_is_said_of("postgresql://nobody@127.0.0.1:1/nowhere", project)
    assert said.startswith("the ledger's database is out of reach (")


async def test_a_node_that_never_had_a_database_leaves_nothing_to_be_ended(project: settings.Project) -> None:
    storing = Storage(choice.EMBEDDED, project, log())
    assert [path.name for path in (project.state_dir / "nodes").iterdir()] == [storing.node]
    await storing.close()
    assert [*(project.state_dir / "nodes").iterdir()] == []


async def test_where_the_project_cannot_be_written_to_it_is_served_all_the_same(project: settings.Project) -> None:
    project.state_dir.write_text("a file")
    storing = Storage(choice.EMBEDDED, project, log())
    assert storing.functions_url is None
    assert storing.ledger.status.backend == "memory"
    await storing.close()

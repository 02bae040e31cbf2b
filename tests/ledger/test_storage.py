"""Which requests are recorded, and what is made of `--database`."""

import io
from pathlib import Path

import pytest
from tests.ledger import samples

from outlast import storage
from outlast.config import settings
from outlast.core.errors import OutlastError
from outlast.core.records import RequestQuery
from outlast.database import choice
from outlast.gateway.ports import Served
from outlast.storage import Storage
from outlast.telemetry.logs import Format, Log


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


@pytest.mark.parametrize("database", ["", "of", "mysql://localhost/x", "/tmp/x"])
async def test_what_is_no_database(project: settings.Project, database: str) -> None:
    with pytest.raises(OutlastError, match="neither embedded nor off nor a URL"):
        Storage(database, project, log())


async def test_where_the_project_cannot_be_written_to_it_is_served_all_the_same(project: settings.Project) -> None:
    project.state_dir.write_text("a file")
    storing = Storage(choice.EMBEDDED, project, log())
    assert storing.functions_url is None
    assert storing.ledger.status.backend == "memory"
    await storing.close()

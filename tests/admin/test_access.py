"""Who gets an answer from the admin API, and who does not."""

import asyncio
import datetime
import importlib
import json
import os
import resource
import socket
import ssl
import stat
import subprocess
from pathlib import Path
from unittest import mock

import httpx
import pytest
from tests.support.admin import PATIENCE_S, admin, admin_url, token
from tests.support.certificates import self_signed
from tests.support.node import Node, serving, write_project

from outlast.admin import administration, place, server
from outlast.admin.address import Address
from outlast.admin.administration import Administration
from outlast.admin.answering import MAX_HEAD_BYTES, MAX_SILENT
from outlast.admin.place import NodePlace

EVERYWHERE = ("--admin-host=0.0.0.0", "--admin-port=0")
HELLO = {"hello": 'Deno.serve(() => new Response("hello"))'}


async def raw(node: Node, *fields: str) -> tuple[int, str]:
    """Status and body of the answer to a request with exactly these header fields."""
    address = httpx.URL(admin_url(node))
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write("\r\n".join(["GET /v1/node HTTP/1.1", *fields, "connection: close", "", ""]).encode())
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    return int(head.split()[1]), body


class TestTheToken:
    async def test_lets_in(self, node: Node) -> None:
        host = httpx.URL(admin_url(node)).netloc.decode()
        status, body = await raw(node, f"host: {host}", f"authorization: Bearer {token(node)}")
        assert status == 200
        assert json.loads(body)["pid"] == node.process.pid

    @pytest.mark.parametrize(
        "given",
        [
            "",
            "Bearer",
            "Bearer ",
            "Bearer x",
            "Basic {token}",
            "{token}",
            "Bearer {token}x",
            "Bearer {token}, Bearer x",
        ],
    )
    async def test_is_what_lets_in(self, node: Node, given: str) -> None:
        host = httpx.URL(admin_url(node)).netloc.decode()
        status, body = await raw(node, f"host: {host}", f"authorization: {given.format(token=token(node))}")
        assert status == 401
        assert json.loads(body)["code"] == "UNAUTHORIZED"

    async def test_given_twice_is_none(self, node: Node) -> None:
        field = f"authorization: Bearer {token(node)}"
        assert (await raw(node, "host: localhost", field, field))[0] == 401

    async def test_in_the_url_is_none(self, node: Node) -> None:
        async with httpx.AsyncClient(base_url=admin_url(node)) as client:
            assert (await client.get(f"/v1/node?token={token(node)}")).status_code == 401

    @pytest.mark.parametrize("path", ["/", "/v1/nothing", "/openapi.json", "/metrics"])
    async def test_is_asked_for_everywhere(self, node: Node, path: str) -> None:
        async with httpx.AsyncClient(base_url=admin_url(node)) as client:
            assert (await client.get(path)).status_code == 401


class TestThoseWithoutIt:
    """They cannot take what the node needs."""

    async def test_send_no_head_without_end(self, node: Node) -> None:
        address = httpx.URL(admin_url(node))
        _, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(b"GET / HTTP/1.1\r\nhost: localhost\r\nx: ")
        with pytest.raises(ConnectionError):
            while True:
                writer.write(b"x" * MAX_HEAD_BYTES)
                await asyncio.wait_for(writer.drain(), PATIENCE_S)
        writer.close()

    async def test_hold_no_number_of_connections(self, node: Node) -> None:
        address = httpx.URL(admin_url(node))
        held = [await asyncio.open_connection(address.host, address.port) for _ in range(MAX_SILENT)]
        asking, writer = held.pop()
        writer.write(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert (await asyncio.wait_for(asking.readline(), PATIENCE_S)).split()[1] == b"401"
        held += [await asyncio.open_connection(address.host, address.port) for _ in range(2)]
        # The one that has stayed silent for longest.
        assert await asyncio.wait_for(held[0][0].read(), PATIENCE_S) == b""
        assert not any(reader.at_eof() for reader, _ in held[1:])
        for _, writer in held:
            writer.close()

    @pytest.mark.parametrize("fields", [(), ("host: a.example",), ("host: localhost", "origin: null")])
    async def test_ask_once(self, node: Node, fields: tuple[str, ...]) -> None:
        address = httpx.URL(admin_url(node))
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write("\r\n".join(["GET /v1/node HTTP/1.1", *fields, "", ""]).encode())
        assert b"connection: close\r\n" in await asyncio.wait_for(reader.read(), PATIENCE_S)
        writer.close()

    async def test_write_nothing_to_stderr(self, node: Node) -> None:
        address = httpx.URL(admin_url(node))
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(b"no request\r\n\r\n")
        assert (await asyncio.wait_for(reader.read(), PATIENCE_S)).startswith(b"HTTP/1.1 400 ")
        writer.close()
        assert node.stderr == ""


class TestWebPages:
    @pytest.mark.parametrize(
        "host", ["attacker.example", "attacker.example:54323", "localhost.attacker.example", "", "["]
    )
    async def test_a_name_that_may_point_anywhere(self, node: Node, host: str) -> None:
        status, body = await raw(node, f"host: {host}", f"authorization: Bearer {token(node)}")
        assert status == 403
        assert json.loads(body)["code"] == "WRONG_HOST"

    async def test_no_name_at_all(self, node: Node) -> None:
        assert (await raw(node, f"authorization: Bearer {token(node)}"))[0] in (400, 403)

    async def test_an_address_that_it_does_not_listen_on(self, node: Node) -> None:
        assert (await raw(node, "host: 192.0.2.1", f"authorization: Bearer {token(node)}"))[0] == 403

    @pytest.mark.parametrize("host", ["localhost:1", "LOCALHOST", "127.0.0.1:54323", "127.8.9.1", "[::1]:54323"])
    async def test_names_and_addresses_of_this_machine(self, node: Node, host: str) -> None:
        assert (await raw(node, f"host: {host}", f"authorization: Bearer {token(node)}"))[0] == 200

    @pytest.mark.parametrize(
        "field",
        [
            "origin: https://attacker.example",
            "origin: http://127.0.0.1:3000",
            "origin: null",
            "origin: https://127.0.0.1:1",
            "sec-fetch-site: cross-site",
            "sec-fetch-site: same-site",
        ],
    )
    async def test_of_another_origin(self, node: Node, field: str) -> None:
        status, body = await raw(node, "host: 127.0.0.1:1", field, f"authorization: Bearer {token(node)}")
        assert status == 403
        assert json.loads(body)["code"] == "WRONG_ORIGIN"

    async def test_of_its_own_origin(self, node: Node) -> None:
        own = ("origin: http://127.0.0.1:1", "sec-fetch-site: same-origin")
        assert (await raw(node, "host: 127.0.0.1:1", *own, f"authorization: Bearer {token(node)}"))[0] == 200

    async def test_nobody_is_told_that_they_may_read_the_answer(self, node: Node, api: httpx.AsyncClient) -> None:
        asked = await api.request(
            "OPTIONS",
            "/v1/tasks",
            headers={"origin": "https://attacker.example", "access-control-request-method": "GET"},
        )
        assert asked.status_code == 403
        assert not [name for name in asked.headers if name.startswith("access-control-")]


class TestWhatIsLeftInTheProject:
    async def test_is_for_its_owner_alone(self, node: Node) -> None:
        state = node.project / ".outlast"
        for name in ("admin-token", "node.json"):
            assert stat.S_IMODE((state / name).stat().st_mode) == 0o600
        assert len(token(node)) >= 32
        assert (state / ".gitignore").read_text() == "*\n"

    async def test_names_the_node(self, node: Node) -> None:
        found = json.loads((node.project / ".outlast/node.json").read_text())
        assert found["url"] == node.url
        assert found["admin_url"] == admin_url(node)
        assert found["pid"] == node.process.pid

    async def test_goes_with_it_but_for_the_token(self, tmp_path: Path) -> None:
        project = write_project(tmp_path, HELLO)
        async with serving(project) as first:
            kept = token(first)
            assert await first.stop() == 0
        assert not (project / ".outlast/node.json").exists()
        (project / ".outlast/admin-token").chmod(0o644)
        async with serving(project) as second, serving(project) as third:
            assert token(second) == kept
            assert stat.S_IMODE((project / ".outlast/admin-token").stat().st_mode) == 0o600
            # The one that was started last is the one that is found, and stays so when another one ends.
            assert await second.stop() == 0
            assert json.loads((project / ".outlast/node.json").read_text())["pid"] == third.process.pid
            assert await third.stop() == 0
        assert [*(project / ".outlast").glob("*node*")] == []

    def test_names_an_earlier_node_when_the_later_one_is_gone(self, tmp_path: Path) -> None:
        def placed(pid: int, minute: int) -> NodePlace:
            started = datetime.datetime(2026, 1, 1, 12, minute, tzinfo=datetime.UTC)
            return NodePlace(url="http://a", admin_url=f"http://{pid}", pid=pid, started=started)

        gone = subprocess.Popen(["true"])
        gone.wait()
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as first:
            place.announce(tmp_path, placed(first.pid, 1))
            place.announce(tmp_path, placed(os.getpid(), 2))
            assert place.find(tmp_path) == placed(os.getpid(), 2)
            # Killed: it could not withdraw.
            place.announce(tmp_path, placed(gone.pid, 3))
            assert place.find(tmp_path) == placed(os.getpid(), 2)
            place.announce(tmp_path, placed(os.getpid(), 4))
            place.withdraw(tmp_path)
            assert place.find(tmp_path) == placed(first.pid, 1)
        # Nobody is left; this is what there was last.
        assert place.find(tmp_path) == placed(first.pid, 1)

    async def test_a_token_of_the_environment(self, tmp_path: Path) -> None:
        project = write_project(tmp_path, HELLO)
        async with serving(project, env={"OUTLAST_ADMIN_TOKEN": "of-the-environment"}) as node:
            assert not (project / ".outlast/admin-token").exists()
            fields = {"authorization": "Bearer of-the-environment"}
            async with httpx.AsyncClient(base_url=admin_url(node), headers=fields) as client:
                assert (await client.get("/v1/node")).status_code == 200


class TestWhereItListens:
    async def test_not_beyond_loopback_by_itself(self, tmp_path: Path) -> None:
        async with serving(
            write_project(tmp_path, HELLO), "--admin-host=0.0.0.0", "--admin-port=0", wait_until_ready=False
        ) as node:
            assert await node.process.wait() == 2
            await node.stop()
            assert "--admin-allow-plain" in node.stderr
            node.stderr = ""

    async def test_beyond_loopback_where_it_is_allowed(self, tmp_path: Path) -> None:
        async with serving(
            write_project(tmp_path, HELLO), "--admin-host=0.0.0.0", "--admin-port=0", "--admin-allow-plain"
        ) as node:
            assert (await raw(node, "host: 192.0.2.1", f"authorization: Bearer {token(node)}"))[0] == 200
            assert (await raw(node, "host: a.example", f"authorization: Bearer {token(node)}"))[0] == 403
            async with admin(node) as client:
                assert (await client.get("/v1/node")).status_code == 200

    async def test_on_a_port_that_is_taken_not_at_all(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            option = f"--admin-port={taken.getsockname()[1]}"
            async with serving(write_project(tmp_path, HELLO), option, wait_until_ready=False) as node:
                assert await node.process.wait() == 2
                await node.stop()
                assert "is in use" in node.stderr
                assert "--admin-port" in node.stderr
                node.stderr = ""


async def test_it_answers_once_there_are_files_to_be_had(tmp_path: Path) -> None:
    """Its code is loaded when it is asked for the first time."""
    async with serving(write_project(tmp_path, HELLO)) as node, admin(node) as client:
        usual = resource.prlimit(node.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(node.process.pid, resource.RLIMIT_NOFILE, (0, usual[1]))
        asked = asyncio.create_task(client.get("/v1/node"))
        await node.wait_for("config", msg=lambda text: "Too many open files" in text)
        resource.prlimit(node.process.pid, resource.RLIMIT_NOFILE, usual)
        assert (await asked).status_code == 200


async def test_who_begins_no_tls_is_disconnected(
    tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gc.freeze", lambda: None)
    monkeypatch.setattr(server, "HANDSHAKE_S", 0.1)
    made = await Administration.prepare(Address(port=0, certificate=certificate), tmp_path, None, announced=False)
    async with made.open(mock.Mock()):
        address = httpx.URL(made.url)
        reader, writer = await asyncio.open_connection(address.host, address.port)
        assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
        writer.close()


async def test_that_it_cannot_answer_yet_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(administration, "LOAD_AGAIN_S", 0.0)
    # What the tests leave behind is garbage.
    monkeypatch.setattr("gc.freeze", lambda: None)
    reasons = iter(["no thread", "no thread", "no file"])

    def load(name: str) -> object:
        for reason in reasons:
            raise RuntimeError(reason)
        return importlib.import_module(name)

    monkeypatch.setattr(administration, "import_module", load)
    told: list[str] = []
    node = mock.Mock()
    node.log.emit = lambda event, *, level, msg: told.append(msg)
    made = await Administration.prepare(Address(port=0), tmp_path, None, announced=False)
    async with made.open(node), httpx.AsyncClient() as client:
        assert (await client.get(made.url)).status_code == 401
    assert told == [f"the admin API cannot answer yet: {reason}" for reason in ("no thread", "no file")]


async def test_functions_do_not_hear_of_the_token(tmp_path: Path) -> None:
    environment = """
import json, os, pathlib
from outlast import Request, Response, serve

@serve
async def handler(request: Request) -> Response:
    try:
        seen = (pathlib.Path(__file__).parents[3] / ".outlast/admin-token").read_text()
    except OSError as error:
        seen = type(error).__name__
    return Response.json({"environment": dict(os.environ), "file": seen})
"""
    project = write_project(tmp_path, {"curious/main.py": environment})
    async with serving(project) as node, httpx.AsyncClient(base_url=node.url, timeout=30) as client:
        told = (await client.get("/curious")).json()
        assert token(node) not in json.dumps(told)
        assert told["file"].endswith("Error")


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return self_signed(tmp_path)


async def test_tls_beyond_loopback(tmp_path: Path, certificate: Path) -> None:
    project = write_project(tmp_path, HELLO)
    async with serving(project, *EVERYWHERE, f"--admin-tls-cert={certificate}") as node:
        assert admin_url(node).startswith("https://127.0.0.1:")
        trusting = ssl.create_default_context(cafile=certificate)
        fields = {"authorization": f"Bearer {token(node)}", "host": "outlast.example"}
        async with httpx.AsyncClient(base_url=admin_url(node), headers=fields, verify=trusting) as client:
            assert (await client.get("/v1/node")).json()["pid"] == node.process.pid
            page = {"origin": "https://attacker.example"}
            assert (await client.get("/v1/node", headers=page)).status_code == 403


async def test_a_certificate_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").touch()
    option = f"--admin-tls-cert={tmp_path / 'empty.pem'}"
    async with serving(write_project(tmp_path, HELLO), option, "--admin-port=0", wait_until_ready=False) as node:
        assert await node.process.wait() == 2
        await node.stop()
        assert "empty.pem" in node.stderr
        node.stderr = ""

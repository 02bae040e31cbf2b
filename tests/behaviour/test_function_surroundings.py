"""What a function can see and touch, and how a request looks from inside."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import jwt
import pytest
import pytest_asyncio
from tests.behaviour.served import PYTHON_ONLY, TYPESCRIPT_ONLY, Served, assemble, served
from tests.support.node import write_project

NODE_ENVIRONMENT = {
    "SUPABASE_JWT_SECRET": "the-secret-that-tokens-are-signed-with",
    "SECRET_OF_THE_NODE": "hidden",
    "FROM_THE_NODE": "passed on by name",
}
ALONE = {
    "typescript": {"alone": "Deno.serve(() => new Response('ok'))"},
    "python": {"alone/main.py": "from outlast import Response, serve\nserve(lambda _: Response('ok'))\n"},
}
CONFIG = """
[edge_runtime.secrets]
passed_on = "env(FROM_THE_NODE)"

[functions.surroundings]
static_files = ["./assets/*.txt"]
"""

DENIALS = ("NotCapable", "PermissionError", "Command failed: /bin/sh")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def site(language: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    project = assemble(tmp_path_factory.mktemp("site"), language, ("surroundings", "mirror"), config=CONFIG)
    (project / "supabase/assets").mkdir()
    (project / "supabase/assets/logo.txt").write_text("static")
    (project / "supabase/private.txt").write_text("private")
    async with served(project, env=NODE_ENVIRONMENT) as site:
        yield site


async def attempt(site: Served, case: str, at: object = "") -> httpx.Response:
    return await site.call(f"surroundings/{case}", params={"at": str(at)})


@pytest.mark.parametrize("way", ["environment", "environment-of-libraries"])
async def test_it_gets_the_variables_it_was_given_and_no_others(site: Served, way: str) -> None:
    response = await attempt(site, way)
    environment = response.json()
    service_key = environment.pop("SUPABASE_SERVICE_ROLE_KEY")
    anon_key = environment.pop("SUPABASE_ANON_KEY")
    temporary = environment.pop("TMPDIR")
    environment.pop("SUPABASE_DB_URL", None)
    assert environment == {
        "GATE_URL": site.gate.url,
        "WORK_URL": site.gate.url,
        "PASSED_ON": "passed on by name",
        "SUPABASE_URL": site.node.url,
        "SUPABASE_FUNCTION_SLUG": "surroundings",
        "SB_EXECUTION_ID": response.headers["x-sb-execution-id"],
    }
    secret = NODE_ENVIRONMENT["SUPABASE_JWT_SECRET"]
    roles = [jwt.decode(key, secret, algorithms=["HS256"])["role"] for key in (anon_key, service_key)]
    assert roles == ["anon", "service_role"]
    assert temporary.startswith("/")


@PYTHON_ONLY
async def test_a_copy_of_the_zygote_has_nothing_of_the_node(site: Served) -> None:
    """The kernel remembers the environment and the descriptors that a process was begun with."""
    said = (await attempt(site, "environment-of-process")).json()
    assert not [name for name, value in NODE_ENVIRONMENT.items() if name in said or value in said]
    assert "PATH=" not in said
    connections = [path for path in (await attempt(site, "descriptors")).json() if path.startswith("socket:")]
    # Where it serves and its lane, each with the node's connection; the way to the node; and what event loops wake
    # themselves with.
    assert len(connections) <= 7, connections


@TYPESCRIPT_ONLY
@pytest.mark.parametrize(
    ("case", "at"),
    [
        ("read", "{project}/supabase/private.txt"),
        ("read", "{project}/supabase/config.toml"),
        ("read", "{project}/gate.env"),
        ("read", "/etc/passwd"),
        ("read", "/proc/{node}/environ"),
        ("read-neighbour", ""),
        ("environment-of-process", ""),
        ("write", "{project}/supabase/private.txt"),
        ("write", "{project}/supabase/assets/logo.txt"),
        ("write", "{project}/supabase/new.txt"),
        ("write-own", ""),
        ("write-shared", ""),
        ("run", "{project}/supabase/new.txt"),
        ("run-by-node", "{project}/supabase/new.txt"),
        ("ffi", ""),
        ("kill", "{node}"),
    ],
)
async def test_what_is_denied(site: Served, case: str, at: str) -> None:
    response = await attempt(site, case, at.format(project=site.node.project, node=site.node.process.pid))
    assert response.status_code == 403, response.text
    assert any(word in response.text for word in DENIALS), response.text
    assert (site.node.project / "supabase/private.txt").read_text() == "private"
    assert not (site.node.project / "supabase/new.txt").exists()


@pytest.mark.parametrize(
    ("case", "at", "result"),
    [
        ("read-own", "", "of the function\n"),
        ("read-shared", "", "of all functions\n"),
        ("read", "{project}/supabase/assets/logo.txt", "static"),
        ("write-temporary", "", [True, "written"]),
    ],
)
async def test_what_is_allowed(site: Served, case: str, at: str, result: object) -> None:
    response = await attempt(site, case, at.format(project=site.node.project))
    assert response.json() == result


@TYPESCRIPT_ONLY
@pytest.mark.parametrize("case", ["slash-tmp", "slash-tmp-of-node"])
async def test_slash_tmp_is_its_own_temporary_folder(site: Served, case: str) -> None:
    name = f"outlast-{uuid.uuid4()}"
    assert (await attempt(site, case, f"/tmp/{name}")).json() == ["written", "written", [name]]
    assert not Path("/tmp", name).exists()  # noqa: ASYNC240


@TYPESCRIPT_ONLY
@pytest.mark.parametrize(
    ("case", "what", "instead"),
    [
        ("caches", "caches is not available", "in a variable"),
        ("kv", "Deno.openKv() without a path is not available", 'in Deno.openKv(":memory:")'),
    ],
)
async def test_what_deno_keeps_in_its_cache_says_what_to_do_instead(
    site: Served, case: str, what: str, instead: str
) -> None:
    response = await attempt(site, case)
    assert response.status_code == 403
    error = response.json()
    assert error.startswith(f"NotSupported: {what}: ")
    assert "a database (SUPABASE_DB_URL)" in error
    assert error.endswith(instead)


@TYPESCRIPT_ONLY
async def test_what_deno_keeps_in_memory_works(site: Served) -> None:
    assert (await attempt(site, "kv-in-memory")).json() == "kept"


@TYPESCRIPT_ONLY
async def test_what_is_closed_looks_as_if_it_were_not_there(site: Served) -> None:
    looked = await attempt(site, "look-by-node", site.node.project / "supabase/private.txt")
    assert looked.json() == [False, True, False, False, True]


@TYPESCRIPT_ONLY
async def test_packages_see_no_network_but_the_loopback(site: Served) -> None:
    looked = (await attempt(site, "networks-by-node")).json()
    assert [(name, [one["address"] for one in found]) for name, found in looked.items()] == [("lo", ["127.0.0.1"])]


async def test_a_shared_folder_that_leads_nowhere_hinders_nobody(language: str, tmp_path: Path) -> None:
    project = write_project(tmp_path, ALONE[language])
    (project / "supabase/functions/_shared").symlink_to("_shared")
    async with served(project) as site:
        response = await site.call("alone")
        assert (response.status_code, response.text) == (200, "ok"), site.node.log_text()


async def test_harmless_facts_of_the_system_are_allowed(site: Served) -> None:
    assert (await attempt(site, "harmless")).status_code == 200


@pytest.mark.parametrize("prefix", ["/functions/v1", ""])
async def test_the_address_is_the_public_one(site: Served, prefix: str) -> None:
    host, port = site.node.address
    reader, writer = await asyncio.open_connection(host, port)
    body = b"h\xc3\xa4llo"
    writer.write(
        f"POST {prefix}/mirror/a%20b/c?x=1&y=%C3%A4 HTTP/1.1\r\n"
        "host: functions.example.com:8443\r\n"
        "x-forwarded-for: 203.0.113.7\r\nx-forwarded-host: forged.example.com\r\nx-forwarded-proto: https\r\n"
        "x-outlast-peer: 203.0.113.7:1\r\nsb-request-id: forged\r\nx-custom: kept\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode()
        + body
    )
    own_host, own_port = writer.get_extra_info("sockname")
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    seen = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert seen["method"] == "POST"
    assert seen["url"] == "http://functions.example.com:8443/mirror/a%20b/c?x=1&y=%C3%A4"
    assert seen["body"] == "hällo"
    assert seen["client"] == f"{own_host}:{own_port}"
    headers = seen["headers"]
    assert headers["host"] == "functions.example.com:8443"
    assert headers["x-custom"] == "kept"
    assert headers["x-forwarded-for"] == own_host
    assert headers["x-forwarded-host"] == "functions.example.com:8443"
    assert headers["x-forwarded-proto"] == "http"
    assert "forged" not in headers["sb-request-id"]


async def test_the_context_of_a_trace_goes_through_as_it_came(site: Served) -> None:
    context = {"traceparent": "of another kind", "tracestate": "shop=cart"}
    seen = (await site.call("mirror", headers=context)).json()["headers"]
    assert {name: seen[name] for name in context} == context
    assert not context.keys() & (await site.call("mirror")).json()["headers"].keys()


async def test_behind_a_trusted_proxy_the_address_is_the_proxys_word(tmp_path: Path, language: str) -> None:
    project = assemble(tmp_path, language, ("mirror",))
    async with served(project, "--trust-proxy") as site:
        headers = {
            "x-forwarded-for": "203.0.113.7",
            "x-forwarded-host": "shop.example.com",
            "x-forwarded-proto": "https",
        }
        seen = (await site.call("mirror", headers=headers)).json()
        assert seen["headers"]["x-forwarded-for"] == "203.0.113.7, 127.0.0.1"
        assert seen["headers"]["x-forwarded-host"] == "shop.example.com"
        assert seen["url"].startswith("https://")
        assert seen["url"].endswith("/mirror")

"""When spans are sent, and what a collector that does not take them costs."""

import asyncio
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from tests.support.collector import collecting, free_port
from tests.support.node import serving, write_project

from outlast.telemetry import traces
from outlast.telemetry.collector import Collector

FUNCTIONS = {
    "hello": "Deno.serve((request) => new Response(request.headers.get('traceparent')));",
    "busy": """
Deno.serve(() => {
  EdgeRuntime.waitUntil(new Promise(() => {}), { name: "endless" });
  return new Response("ok");
});
""",
}
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


@pytest.mark.parametrize(
    ("environ", "variable"),
    [
        ({}, None),
        ({"OTEL_SERVICE_NAME": "shop", "OTEL_EXPORTER_OTLP_ENDPOINT": ""}, None),
        (ENDPOINT, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://there/traces"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "OTEL_TRACES_EXPORTER"),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "console, OTLP"}, "OTEL_TRACES_EXPORTER"),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, None),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "True"}, None),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
    ],
)
def test_who_wants_traces(environ: dict[str, str], variable: str | None) -> None:
    assert traces.wanted_by(environ) == variable


@pytest.mark.parametrize(
    ("environ", "complaint"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER=zipkin: it can be otlp or none here"),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc: only http/protobuf"),
        (
            {**ENDPOINT, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"},
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/json: only http/protobuf",
        ),
    ],
)
def test_what_cannot_be_had(environ: dict[str, str], complaint: str) -> None:
    with pytest.raises(traces.NoTraces, match=complaint):
        traces.wanted_by(environ)


def test_who_wants_none_does_not_load_the_libraries() -> None:
    code = "import sys, outlast.app; print([name for name in sys.modules if name.startswith('opentelemetry')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"[]\n"


async def test_without_the_extra_it_is_said_how_to_get_it(tmp_path: Path) -> None:
    missing = tmp_path / "path" / "opentelemetry"
    missing.mkdir(parents=True)
    (missing / "__init__.py").write_text("raise ModuleNotFoundError('No module named opentelemetry')\n")
    project = write_project(tmp_path / "project", FUNCTIONS)
    async with serving(project, env={**ENDPOINT, "PYTHONPATH": str(missing.parent)}) as node:
        (warning,) = node.found("config", level="warning")
        assert "OTEL_EXPORTER_OTLP_ENDPOINT asks for traces" in warning["msg"]
        assert "pip install 'outlast[otel]'" in warning["msg"]
        async with httpx.AsyncClient(base_url=node.url) as client:
            assert (await client.get("/hello", headers={"traceparent": PARENT})).text == PARENT


async def test_a_collector_that_is_gone_or_refuses_is_reported_once(tmp_path: Path) -> None:
    port = free_port()
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        # Enough for one more try: it is the first whose failure has a reason.
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1.5",
        "OTEL_BSP_SCHEDULE_DELAY": "20",
        "NO_PROXY": "127.0.0.1",
    }
    async with (
        serving(write_project(tmp_path, FUNCTIONS), env=environ) as node,
        httpx.AsyncClient(base_url=node.url) as client,
    ):
        assert (await client.get("/hello")).status_code == 200
        gone = await node.wait_for("traces", level="warning")
        assert "refused" in gone["msg"]
        async with collecting(port) as collector:
            assert (await client.get("/hello")).status_code == 200
            back = await node.wait_for("traces", level="info")
            assert "lost meanwhile: 1" in back["msg"]
            assert len(collector.spans) == 1
            collector.status = 400
            for count in range(1, 4):
                assert (await client.get("/hello")).status_code == 200
                await collector.wait_for_refused(count)
            collector.status = 200
            await client.get("/hello")
            await node.wait_for("traces", count=2, level="info")
            texts = [event["msg"] for event in node.found("traces")]
            assert len(texts) == 4
            assert "400" in texts[2]
            assert "lost meanwhile: 3" in texts[3]


async def test_what_ends_with_the_server_is_still_sent(tmp_path: Path) -> None:
    async with (
        collecting() as collector,
        serving(
            write_project(tmp_path, FUNCTIONS),
            "--graceful-exit-timeout=0.1",
            env={**collector.environ, "OTEL_BSP_SCHEDULE_DELAY": "60000", "OTEL_SERVICE_NAME": "shop"},
        ) as node,
    ):
        async with httpx.AsyncClient(base_url=node.url) as client:
            await client.get("/busy")
        await node.wait_for("request")
        assert collector.spans == []
        assert await node.stop() == 0
        (request,) = collector.found("GET /busy")
        (task,) = collector.found("task endless")
        assert task.attributes["outlast.task.reason"] == "termination"
        assert task.parent_id == request.span_id
        assert request.resource["service.name"] == "shop"


async def test_a_collector_that_does_not_answer_holds_up_the_end_for_a_moment_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = asyncio.Event()
    done = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        asked.set()
        await done.wait()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    said: list[str] = []

    def report(text: str, *, is_trouble: bool) -> None:
        said.append(text)

    collector = Collector("node", report)
    collector.tracer.start_span("last").end()
    closing = asyncio.create_task(collector.close(within_s=0.3))
    await asked.wait()
    await closing
    assert said == ["the last spans could not be sent within 0.3 s"]
    done.set()
    server.close()


async def test_more_than_can_be_kept_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with collecting() as receiving:
        for name, value in {**receiving.environ, "OTEL_BSP_SCHEDULE_DELAY": "60000"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "10")
        monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10")
        said: list[str] = []
        told = asyncio.Event()

        def report(text: str, *, is_trouble: bool) -> None:
            said.append(text)
            told.set()

        collector = Collector("node", report)
        for _ in range(1_000):
            collector.tracer.start_span("one of many").end()
        await told.wait()
        await collector.close()
        (text,) = said
        assert "OTEL_BSP_MAX_QUEUE_SIZE" in text

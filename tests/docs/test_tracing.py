"""The functions of docs/tracing.md make the trace that the page shows; its tables name what spans have."""

import re
from pathlib import Path

import httpx
from tests.support.collector import Collector, Span, collecting
from tests.support.node import serving, write_project

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "tracing.md").read_text()
FUNCTIONS = dict(re.findall(r"^```(?:typescript|python)\n(?://|#) (\S+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))


def first_column(heading: str) -> set[str]:
    table = re.search(rf"^\| {re.escape(heading)} \|\n\| ---[^\n]*\n((?:\|[^\n]*\n)+)", TEXT, re.MULTILINE)
    assert table is not None
    return {name for row in table[1].splitlines() for name in re.findall(r"`([\w.]+)`", row.split(" | ")[0])}


def drawn(collector: Collector, parent: str, depth: int = 0) -> list[str]:
    spans = sorted((span for span in collector.spans if span.parent_id == parent), key=lambda span: span.started_ns)
    lines = []
    for span in spans:
        told = f"error: {span.description}" if span.status == "error" else ""
        lines += [f"{'  ' * depth + span.name:29}{told}".rstrip(), *drawn(collector, span.span_id, depth + 1)]
    return lines


async def test_the_trace_is_that_of_the_page(tmp_path: Path) -> None:
    (shown,) = re.findall(r"makes this trace:\n\n```\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    async with (
        collecting() as collector,
        serving(write_project(tmp_path, FUNCTIONS), env=collector.environ) as node,
        httpx.AsyncClient(base_url=node.url, timeout=30) as client,
    ):
        assert (await client.post("/functions/v1/order")).text == "ordered"
        for name in ("task send-receipt", "task reserve", "POST /functions/v1/order", "GET /functions/v1/stock"):
            await collector.wait_for(name)
        assert drawn(collector, "") == shown.splitlines()
        assert {span.trace_id for span in collector.spans} == {collector.spans[0].trace_id}
        of_requests: set[str] = set().union(*(attributes(span) for span in collector.spans if span.kind == "server"))
        of_tasks: set[str] = set().union(*(attributes(span) for span in collector.spans if span.kind == "internal"))
        assert of_requests <= first_column("attribute | of a request")
        assert of_tasks <= first_column("attribute | of a task")


def attributes(span: Span) -> set[str]:
    return {*span.attributes}


def test_the_tables_name_every_attribute_that_the_code_sets() -> None:
    source = (ROOT / "src" / "outlast" / "telemetry" / "spans.py").read_text()
    named = set(re.findall(r'"((?:http|url|server|client|network|user_agent|faas|outlast|error)\.[\w.]+)"', source))
    assert first_column("attribute | of a request") | first_column("attribute | of a task") == named

"""Sends spans to a collector by OTLP over HTTP, through OpenTelemetry's SDK.

The SDK sends ended spans in batches, from a thread of its own, and drops the oldest if there are more than it can send.
It reports each error to ``logging``; here an error is reported once, in the node's log.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from typing import Protocol

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Tracer

FLUSH_S = 3.0
"""For sending the last spans when the node ends."""
_QUEUE_FULL = "Queue full"


class Report(Protocol):
    def __call__(self, text: str, *, is_trouble: bool) -> None: ...


class Collector:
    """Configured by the variables ``OTEL_…``. Raises ValueError, OSError or RuntimeError if one cannot be used."""

    def __init__(self, node: str, report: Report) -> None:
        """``node``: its id. ``report``: called in the event loop, with one line for the log."""
        in_loop = _in_loop(report)
        self._complaints = _Complaints(in_loop)
        self._exporter = _Exporter(OTLPSpanExporter(), self._complaints, in_loop)
        self._provider = TracerProvider(resource=_resource(node), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._report = report
        self.tracer: Tracer = self._provider.get_tracer("outlast", version("outlast"))

    async def close(self, within_s: float = FLUSH_S) -> None:
        """Sends the spans that have ended, as far as that is possible in this time."""
        loop = asyncio.get_running_loop()
        flushed = loop.create_future()

        def flush() -> None:
            self._provider.shutdown()
            with contextlib.suppress(RuntimeError):  # the loop did not wait, and is closed
                loop.call_soon_threadsafe(flushed.set_result, None)

        if self._exporter.is_failing:
            # It would wait for the collector to come back.
            self._exporter.give_up()
        # A thread that ends with the process, unlike those of the event loop's pool, which are waited for.
        threading.Thread(target=flush, name="flush traces", daemon=True).start()
        await asyncio.wait([flushed], timeout=within_s)
        if not flushed.done():
            self._exporter.give_up()
            self._report(f"the last spans could not be sent within {within_s:g} s", is_trouble=True)
        self._complaints.close()


class _Exporter(SpanExporter):
    """Reports once that the collector does not take spans, and once that it does again. Runs in the SDK's thread."""

    def __init__(self, exporter: OTLPSpanExporter, complaints: "_Complaints", report: Report) -> None:
        self._exporter = exporter
        self._complaints = complaints
        self._report = report
        self._lost = 0
        self._is_closed = False

    @property
    def is_failing(self) -> bool:
        return self._lost > 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self._is_closed:
            return SpanExportResult.FAILURE
        self._complaints.latest = ""
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            if self._lost:
                self._report(f"spans are taken again; lost meanwhile: {self._lost}", is_trouble=False)
                self._lost = 0
            return result
        if not self._lost and not self._is_closed:
            why = self._complaints.latest or "no reason is known"
            self._report(f"spans are not taken, and lost until they are: {why}", is_trouble=True)
        self._lost += len(spans)
        return result

    def give_up(self) -> None:
        """Ends the present attempt, if there is one, and makes no further one."""
        self._is_closed = True
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def shutdown(self) -> None:
        if not self._is_closed:
            self.give_up()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True


class _Complaints(logging.Handler):
    """Receives what OpenTelemetry's libraries log, in any thread.

    Each kind of message from the SDK is reported once. Those of the propagator are about what clients send, and
    dropped.
    """

    def __init__(self, report: Report) -> None:
        super().__init__(logging.WARNING)
        self.latest = ""
        """Why the latest attempt to send failed."""
        self._report = report
        self._reported: set[str] = set()
        self._logger = logging.getLogger("opentelemetry")
        self._logger.addHandler(self)
        self._logger.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("opentelemetry.exporter"):
            # The first message has the reason; the next only says that retrying did not help.
            self.latest = self.latest or record.getMessage()
        elif record.name.startswith("opentelemetry.sdk") and record.msg not in self._reported:
            self._reported.add(record.msg)
            text = record.getMessage()
            if text.startswith(_QUEUE_FULL):
                text = (
                    "more spans end than can be sent, and some are lost; fewer are made with OTEL_TRACES_SAMPLER, and "
                    "more are kept with OTEL_BSP_MAX_QUEUE_SIZE"
                )
            self._report(text, is_trouble=True)

    def close(self) -> None:
        self._logger.removeHandler(self)
        # Whatever still logs is a thread that is about to end with the process.
        self._logger.addHandler(logging.NullHandler())
        super().close()


def _resource(node: str) -> Resource:
    """The service as the variables describe it, and this node."""
    resource = Resource.create({"service.version": version("outlast"), "service.instance.id": node})
    if str(resource.attributes["service.name"]).startswith("unknown_service"):
        return resource.merge(Resource({"service.name": "outlast"}))
    return resource


def _in_loop(report: Report) -> Report:
    """For calls from other threads: ``report`` runs in the event loop."""
    loop = asyncio.get_running_loop()

    def tell(text: str, *, is_trouble: bool) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(partial(report, text, is_trouble=is_trouble))

    return tell

"""Sets up traces if the environment asks for them, as OpenTelemetry defines it.

The libraries of the extra ``outlast[otel]`` are imported only then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from outlast.core.errors import OutlastError
from outlast.telemetry.logs import Level, Log

if TYPE_CHECKING:
    from outlast.telemetry.spans import Tracing

INSTALL = "pip install 'outlast[otel]'"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_SPOKEN = "http/protobuf"


class NoTraces(OutlastError):
    """Traces were asked for, but cannot be had."""


def wanted_by(environ: Mapping[str, str]) -> str | None:
    """The variable that asks for traces; None if none does. Raises `NoTraces` for what is not supported.

    An empty variable counts as unset, as in OpenTelemetry's specification.
    """
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    exporters = {name.strip().lower() for name in environ.get("OTEL_TRACES_EXPORTER", "").split(",")} - {""}
    if exporters and exporters <= {"none"}:
        return None
    if exporters and "otlp" not in exporters:
        raise NoTraces(f"OTEL_TRACES_EXPORTER={','.join(sorted(exporters))}: it can be otlp or none here")
    wanting = "OTEL_TRACES_EXPORTER" if exporters else next(filter(environ.get, _ENDPOINTS), None)
    if wanting is None:
        return None
    protocol = next(filter(environ.get, _PROTOCOLS), None)
    if protocol is not None and environ[protocol].strip().lower() != _SPOKEN:
        raise NoTraces(
            f"{protocol}={environ[protocol]}: only {_SPOKEN} is spoken here; set it to that, and the endpoint to the "
            "collector's port for it (4318, where nothing else is configured)"
        )
    return wanting


def opened(environ: Mapping[str, str], node: str, log: Log) -> Tracing | None:
    """None if nobody asked for traces, or they cannot be had; then the log says why, and serving goes on without.

    ``node``: its id. Call it inside a running event loop, and `Tracing.close` at the end.
    """
    try:
        variable = wanted_by(environ)
        return _open(variable, node, log) if variable is not None else None
    except NoTraces as error:
        log.emit("config", level=Level.WARNING, msg=f"{error}. Serving goes on without traces")
        return None


def _open(variable: str, node: str, log: Log) -> Tracing:
    try:
        from outlast.telemetry import collector, spans
    except ImportError as error:
        raise NoTraces(f"{variable} asks for traces, which takes the extra otel: {INSTALL} ({error})") from error

    def report(text: str, *, is_trouble: bool) -> None:
        log.emit("traces", level=Level.WARNING if is_trouble else Level.INFO, msg=text)

    try:
        return spans.Tracing(collector.Collector(node, report))
    except (ValueError, OSError, RuntimeError) as error:
        # The SDK's complaint about a variable that it cannot use.
        raise NoTraces(f"{variable} asks for traces, and another of OTEL_* cannot be used: {error}") from error

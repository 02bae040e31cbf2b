"""``/metrics``, for Prometheus.

Labels are names of functions that exist or have existed, and members of the closed lists in `outlast.core`, which
bounds the number of time series. Requests for functions that do not exist are counted under an empty name.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from itertools import accumulate

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry

from outlast.admin.node import Node
from outlast.core.lifecycle import State
from outlast.core.outcome import TaskOutcome
from outlast.telemetry.counts import FunctionCounts, Histogram


def exposition(node: Node, accept: str) -> tuple[bytes, str]:
    """The text and its content type. ``accept``: the request's Accept field."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Node(node))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Node(Collector):
    def __init__(self, node: Node) -> None:
        self._node = node

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("outlast_node", "The node.", {"version": version("outlast")})
        started = GaugeMetricFamily("outlast_start_time_seconds", "When the node was started.")
        started.add_metric([], self._node.started.timestamp())
        yield started
        yield from _counted(self._node.counts.functions)
        yield from self._present()
        yield from self._ledger()
        yield _count(
            "outlast_log_lines_lost",
            "Lines of the log that its reader was too slow for.",
            self._node.counts.log_lines_lost,
        )

    def _present(self) -> Iterator[Metric]:
        """The present state."""
        workers = GaugeMetricFamily("outlast_workers", "Workers that are alive.", labels=["function", "state"])
        requests = GaugeMetricFamily("outlast_requests_in_progress", "Requests that workers have.", labels=["function"])
        waiting = GaugeMetricFamily("outlast_requests_waiting", "Requests that no worker has yet.", labels=["function"])
        tasks = GaugeMetricFamily("outlast_open_tasks", "Tasks that have not settled.", labels=["function"])
        waits = HistogramMetricFamily(
            "outlast_queue_wait_seconds", "How long requests waited that found no worker ready.", labels=["function"]
        )
        for function in self._node.fleet.snapshot():
            states = Counter(worker.state for worker in function.workers)
            for state in State:
                workers.add_metric([function.name, state], states[state])
            requests.add_metric([function.name], function.requests)
            waiting.add_metric([function.name], function.waiting)
            tasks.add_metric([function.name], function.open_tasks)
        for name, pool in self._node.fleet.services.items():
            _add(waits, [name], pool.waits)
        yield from (workers, requests, waiting, tasks, waits)

    def _ledger(self) -> Iterator[Metric]:
        status = self._node.ledger.status
        connected = GaugeMetricFamily(
            "outlast_ledger_connected", "Whether records are written to where they outlive the node."
        )
        connected.add_metric([], status.connected)
        backlog = GaugeMetricFamily("outlast_ledger_backlog", "Records that wait to be written.")
        backlog.add_metric([], status.backlog)
        yield from (connected, backlog)
        yield _count("outlast_ledger_written", "Records that were written.", status.written)
        yield _count("outlast_ledger_dropped", "Records that were never written.", status.dropped)


def _counted(functions: dict[str, FunctionCounts]) -> Iterator[Metric]:
    """Counts since the start."""
    requests = CounterMetricFamily(
        "outlast_requests", "Requests that have ended, by class of status.", labels=["function", "status"]
    )
    latency = HistogramMetricFamily(
        "outlast_request_duration_seconds", "From the head of a request to the end of its answer.", labels=["function"]
    )
    tasks = CounterMetricFamily("outlast_tasks", "Tasks that have settled.", labels=["function", "outcome", "reason"])
    task_time = HistogramMetricFamily(
        "outlast_task_duration_seconds", "From the start of a task until it settled.", labels=["function"]
    )
    boots = HistogramMetricFamily(
        "outlast_cold_start_seconds", "From when a worker was wanted until it was ready.", labels=["function"]
    )
    failures = CounterMetricFamily("outlast_boot_failures", "Starts that came to nothing.", labels=["function"])
    ends = CounterMetricFamily("outlast_worker_ends", "Workers that have ended.", labels=["function", "reason"])
    limits = CounterMetricFamily(
        "outlast_limits_reached", "Workers that a limit has ended.", labels=["function", "limit"]
    )
    suppressed = CounterMetricFamily(
        "outlast_log_lines_suppressed", "Lines printed beyond what is logged of a function.", labels=["function"]
    )
    for name, counts in [*functions.items()]:
        for digit, count in enumerate(counts.statuses):
            if count:
                requests.add_metric([name, f"{digit}xx" if digit else "none"], count)
        _add(latency, [name], counts.requests)
        if not name:
            # Functions that do not exist have neither tasks nor workers.
            continue
        tasks.add_metric([name, TaskOutcome.FULFILLED, ""], counts.fulfilled)
        for (outcome, reason), count in counts.tasks.items():
            tasks.add_metric([name, outcome, reason], count)
        _add(task_time, [name], counts.task_ms)
        _add(boots, [name], counts.boots)
        failures.add_metric([name], counts.boot_failures)
        suppressed.add_metric([name], counts.lines_suppressed)
        for reason, count in counts.ends.items():
            ends.add_metric([name, reason], count)
        for limit, count in counts.limits.items():
            limits.add_metric([name, limit], count)
    yield from (requests, latency, tasks, task_time, boots, failures, ends, limits, suppressed)


def _add(family: HistogramMetricFamily, labels: list[str], values: Histogram) -> None:
    bounds = [*(str(bound / 1000) for bound in values.bounds_ms), "+Inf"]
    family.add_metric(labels, [*zip(bounds, accumulate(values.counts), strict=True)], sum_value=values.sum_ms / 1000)


def _count(name: str, text: str, value: int) -> Metric:
    family = CounterMetricFamily(name, text)
    family.add_metric([], value)
    return family

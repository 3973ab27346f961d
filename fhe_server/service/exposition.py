"""The counts of a service in the text format of Prometheus, on an address of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.process_collector import ProcessCollector

from fhe_server.errors import ServerError
from fhe_server.service.metrics import BUCKETS_S, Histogram
from fhe_server.service.service_state import ServiceState


class _Collector:
    def __init__(self, state: ServiceState) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        state, stats = self._state, self._state.batcher.stats
        counters, metrics = state.counters, state.metrics
        for name, value, text in (
            ("rounds", counters.rounds, "Rounds answered."),
            ("query_bytes", counters.query_bytes, "Bytes of query frames."),
            ("answer_bytes", counters.answer_bytes, "Bytes of answer frames."),
            ("batches", stats.batches, "Products made for one or more rounds."),
            ("rows", stats.rows, "Rows multiplied."),
            ("kernel_seconds", stats.kernel_s, "Seconds spent in products."),
            ("kernel_cpu_seconds", stats.kernel_cpu_s, "Processor seconds of those."),
            ("queue_seconds", stats.waited_s, "Seconds that rounds waited for their product."),
        ):
            yield CounterMetricFamily(f"tacita_{name}", text, value=value)
        yield _by_label("tacita_refused", "Refusals.", "code", metrics.refused)
        yield _by_label("tacita_tokens", "Tokens of the model.", "model", metrics.tokens)
        yield _histogram(
            metrics.round_s, "tacita_round_seconds", "From a whole query to its answer."
        )
        for name, value, text in (
            ("connections", state.connections.count, "Open WebSockets."),
            ("waiting", state.batcher.waiting, "Rounds in the queue."),
            ("models", len(state.shelf), "Models that are served."),
            ("loaded_bytes", state.shelf.loaded_bytes, "Weights in memory."),
            ("ready", int(state.ready), "1 if /v1/ready says so."),
        ):
            yield GaugeMetricFamily(f"tacita_{name}", text, value=value)


def _histogram(counts: Histogram, name: str, text: str) -> HistogramMetricFamily:
    """As Prometheus wants it: cumulative."""
    buckets, running = [], 0
    for bound, count in zip((*map(str, BUCKETS_S), "+Inf"), counts.counts, strict=True):
        running += count
        buckets.append((bound, running))
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=counts.total)


def _by_label(name: str, text: str, label: str, counts: Mapping[str, float]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=[label])
    for key, count in sorted(dict(counts).items()):
        family.add_metric([key], count)
    return family


def registry_of(state: ServiceState) -> CollectorRegistry:
    """A registry that reads the numbers of one service, and of its process."""
    registry = CollectorRegistry()
    registry.register(_Collector(state))
    ProcessCollector(registry=registry)
    return registry


def exposition(state: ServiceState) -> bytes:
    """The text that Prometheus fetches."""
    return generate_latest(registry_of(state))


def serve_metrics(state: ServiceState, host: str, port: int) -> Callable[[], None]:
    """Answer GET /metrics on an address of its own; returns how to end it.

    Raises:
        ServerError: the address cannot be bound.
    """
    try:
        server, thread = start_http_server(port, host, registry_of(state))
    except (OSError, OverflowError) as error:
        raise ServerError(
            f"Cannot serve metrics on {host}:{port}: {error}.", "Choose another --metrics address."
        ) from error

    def end() -> None:
        server.shutdown()
        server.server_close()
        thread.join(5)

    return end

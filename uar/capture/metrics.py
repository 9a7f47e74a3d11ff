"""What the worker counts, in Prometheus' words. No label ever holds anything of a request: sources and outcomes are fixed lists.

Counting is plain arithmetic on the path of a delivery; the families are made when somebody asks for the page.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Collection, Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from uar.activity import Source
from uar.capture.logs import dropped_lines

ANSWERS = ("accepted", "refused", "undecided", "overloaded", "not_durable", "bad_form", "test")
FATES = ("accepted", "duplicate", "ignored", "quarantined")
SOURCES = (Source.FORGE, Source.CONNECT, Source.DATACENTER)
ACK_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
GAUGES = {
    "uar_spool_deliveries": "Deliveries that wait for the store.",
    "uar_spool_bytes": "Bytes of the spool file in use.",
    "uar_spool_oldest_age_seconds": "Age of the oldest delivery that waits for the store.",
    "uar_disk_free_ratio": "How much of the disk of UAR_DATA_DIR is free, from 0 to 1.",
    "uar_drain_lag_seconds": "How long the last stored delivery waited for the store.",
    "uar_keyset_age_seconds": "Seconds since the Forge key set was fetched.",
}

Counts = dict[tuple[Source, str, str], int]


class Metrics(Collector):
    """The worker's counters. Counts for the store are kept until `take_counts` fetches them. `configured`: sources that may deliver."""

    def __init__(self, configured: Collection[Source] = SOURCES) -> None:
        self._configured = configured
        self._answers = {(source, outcome): 0 for source in SOURCES for outcome in ANSWERS}
        self._fates = {(source, fate): 0 for source in SOURCES for fate in FATES}
        self._last_at: dict[Source, float] = {}
        self._buckets = [0] * (len(ACK_BUCKETS) + 1)
        self._ack_sum = 0.0
        self._gauges: dict[str, float | None] = {**dict.fromkeys(GAUGES, 0.0), "uar_keyset_age_seconds": None}
        self._store_errors = 0
        self._reused_tokens = 0
        self._lock = threading.Lock()
        self._pending: Tally[tuple[Source, str, str]] = Tally()
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def answered(self, source: Source, outcome: str, duration_s: float) -> None:
        """One delivery got its answer; from the event loop only."""
        self._answers[source, outcome] += 1
        self._buckets[bisect_left(ACK_BUCKETS, duration_s)] += 1
        self._ack_sum += duration_s

    def arrived(self, source: Source, at_s: float) -> None:
        """A genuine delivery was made durable."""
        self._last_at[source] = at_s

    def arrived_earlier(self, last_arrivals: Mapping[Source, int]) -> None:
        """When the last deliveries came before this start (epoch milliseconds), as far as none came since; from the drain only."""
        for source, at in last_arrivals.items():
            if source in self._configured:  # nobody waits for the others any more
                self._last_at.setdefault(source, at / 1000)

    def drained(self, source: Source, fate: str, count: int) -> None:
        """So many spooled deliveries were stored, known already, ignored or quarantined; from the drain only."""
        self._fates[source, fate] += count

    def store_failed(self) -> None:
        """One transaction of the store failed; from the drain only."""
        self._store_errors += 1

    def token_reused(self) -> None:
        """A Forge token came again with another body; from the event loop only."""
        self._reused_tokens += 1

    def show(self, **values: float | None) -> None:
        """Sets gauges, by their names without the prefix `uar_`. One that is None has no sample: an alarm takes any number for true."""
        self._gauges.update({f"uar_{name}": value for name, value in values.items()})

    def refused(self, source: Source, site: str, reason: str) -> None:
        """One refusal for the store's count per site and reason (one of our own words); `site` is empty unless it is a configured one."""
        with self._lock:
            self._pending[source, site, f"refused: {reason}"] += 1

    def take_counts(self) -> Counts:
        """The counts since the last call, for the store."""
        with self._lock:
            taken, self._pending = dict(self._pending), Tally()
        return taken

    def give_back(self, counts: Counts) -> None:
        """Counts that the store could not take."""
        with self._lock:
            self._pending.update(counts)

    def text(self) -> bytes:
        """The page of metrics."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """The families, as they are now."""
        answers = CounterMetricFamily("uar_deliveries", "Deliveries by source and by how they were answered.", labels=["source", "outcome"])
        for (source, outcome), count in self._answers.items():
            answers.add_metric([source.key, outcome], count)
        yield answers
        fates = CounterMetricFamily("uar_drained_deliveries", "Spooled deliveries by what became of them.", labels=["source", "outcome"])
        for (source, fate), count in self._fates.items():
            fates.add_metric([source.key, fate], count)
        yield fates
        last = GaugeMetricFamily("uar_last_delivery_timestamp_seconds", "When the last genuine delivery came.", labels=["source"])
        for source, at_s in sorted(self._last_at.items()):
            last.add_metric([source.key], at_s)
        yield last
        for name, meaning in GAUGES.items():
            yield GaugeMetricFamily(name, meaning, value=self._gauges[name])
        yield CounterMetricFamily("uar_store_errors", "Failed transactions of the store.", value=self._store_errors)
        yield CounterMetricFamily("uar_reused_tokens", "Forge tokens that came again with another body.", value=self._reused_tokens)
        yield CounterMetricFamily("uar_dropped_log_lines", "Log lines that standard error did not take.", value=dropped_lines())
        yield self._ack_durations()

    def _ack_durations(self) -> Metric:
        total, buckets = 0, []
        for bound, count in zip([*map(str, ACK_BUCKETS), "+Inf"], self._buckets, strict=True):
            total += count
            buckets.append((bound, float(total)))
        return HistogramMetricFamily("uar_ack_duration_seconds", "Time from the head of a delivery to its answer.", buckets, self._ack_sum)

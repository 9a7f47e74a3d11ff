"""What the worker counts, in Prometheus' words. No label ever holds anything of a request: sources and outcomes are fixed lists."""

from __future__ import annotations

import threading
from collections import Counter as Tally

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from uar.activity import Source

OUTCOMES = ("accepted", "refused", "undecided", "overloaded", "not_durable", "bad_form", "test")
SOURCES = (Source.FORGE, Source.CONNECT, Source.DATACENTER)
ACK_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

Counts = dict[tuple[Source, str, str], int]


class Metrics:
    """The worker's counters. Counts for the store are kept until `take_counts` fetches them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        deliveries = self._counter("uar_deliveries_total", "Deliveries by source and by how they were answered.")
        self._by_outcome = {(source, outcome): deliveries.labels(source.key, outcome) for source in SOURCES for outcome in OUTCOMES}
        self._drained = self._counter("uar_drained_deliveries_total", "Spooled deliveries by source and by what became of them.")
        last = Gauge("uar_last_delivery_timestamp_seconds", "When the last genuine delivery came.", ["source"], registry=self.registry)
        self._last = {source: last.labels(source.key) for source in SOURCES}
        self.ack = Histogram(
            "uar_ack_duration_seconds", "Time from the head of a delivery to its answer.", buckets=ACK_BUCKETS, registry=self.registry
        )
        self.spool_deliveries = self._gauge("uar_spool_deliveries", "Deliveries that wait for the store.")
        self.spool_bytes = self._gauge("uar_spool_bytes", "Bytes of the spool file in use.")
        self.spool_oldest_age = self._gauge("uar_spool_oldest_age_seconds", "Age of the oldest delivery that waits for the store.")
        self.drain_lag = self._gauge("uar_drain_lag_seconds", "How long the last stored delivery waited for the store.")
        self.key_set_age = self._gauge("uar_keyset_age_seconds", "Seconds since the Forge key set was fetched.")
        self.store_errors = Counter("uar_store_errors_total", "Failed transactions of the store.", registry=self.registry)
        self._lock = threading.Lock()
        self._pending: Tally[tuple[Source, str, str]] = Tally()

    def _counter(self, name: str, meaning: str) -> Counter:
        return Counter(name, meaning, ["source", "outcome"], registry=self.registry)

    def _gauge(self, name: str, meaning: str) -> Gauge:
        return Gauge(name, meaning, registry=self.registry)

    def answered(self, source: Source, outcome: str, duration_s: float) -> None:
        """One delivery got its answer."""
        self._by_outcome[source, outcome].inc()
        self.ack.observe(duration_s)

    def arrived(self, source: Source, at_s: float) -> None:
        """A genuine delivery was made durable."""
        self._last[source].set(at_s)

    def drained(self, source: Source, outcome: str, count: int) -> None:
        """So many spooled deliveries were stored, known already, ignored or quarantined."""
        self._drained.labels(source.key, outcome).inc(count)

    def refused(self, source: Source, site: str) -> None:
        """One refusal for the store's count per site; `site` is empty unless it is a configured one."""
        with self._lock:
            self._pending[source, site, "refused"] += 1

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
        return generate_latest(self.registry)

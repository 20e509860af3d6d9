"""What the catalogue counts: jobs by state, results, durations, retries, bytes, files that wait to be deleted."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import Counter, Gauge, Histogram

from catalogue.database import Connection
from common.messages import JobResult
from common.metrics import DURATION_BUCKETS, new_registry


class CatalogueMetrics:
    """One registry; gauges are read from the database when someone asks."""

    def __init__(self) -> None:
        self.registry = new_registry()
        self._jobs = Gauge("thresher_jobs", "Unfinished jobs", ["kind", "state", "capability"], registry=self.registry)
        self._deletions = Gauge("thresher_deletions", "Files that wait to be deleted", registry=self.registry)
        self._results = Counter("thresher_results", "Results by what became of them", ["fate"], registry=self.registry)
        self._ended = Counter("thresher_attempts", "Ended attempts", ["kind", "graph", "outcome"], registry=self.registry)
        self._retried = Counter("thresher_retries", "Attempts that are followed by another", ["kind", "graph"], registry=self.registry)
        self._seconds = Histogram(
            "thresher_attempt_seconds", "Duration of attempts", ["kind", "graph"], registry=self.registry, buckets=DURATION_BUCKETS
        )
        self._bytes = Counter("thresher_layer_bytes", "Bytes of indexed layers", ["graph"], registry=self.registry)

    def count(self, fate: str, number: int = 1) -> None:
        """`fate`: applied, late, duplicate, unknown, unreadable."""
        self._results.labels(fate).inc(number)

    def ended(self, graph: str, result: JobResult, *, again: bool) -> None:
        """An attempt that counts has come to its end."""
        kind = result.kind.value
        self._ended.labels(kind, graph, result.outcome.value).inc()
        self._seconds.labels(kind, graph).observe(max(0.0, (result.ended_at - result.started_at).total_seconds()))
        if again:
            self._retried.labels(kind, graph).inc()
        self._bytes.labels(graph).inc(sum(dataset.file.size for dataset in result.datasets))

    async def refresh(self, connection: Connection, capabilities: Sequence[str]) -> None:
        """Read the gauges. Uses job_live_scene and job_live_tile: the cost does not grow with what is done."""
        rows = await connection.fetch(
            """SELECT kind, state, capability, count(*) AS n FROM job
               WHERE state <> 'finished' AND scene_id IS NOT NULL GROUP BY kind, state, capability
               UNION ALL
               SELECT kind, state, capability, count(*) FROM job
               WHERE state <> 'finished' AND tile_id IS NOT NULL GROUP BY kind, state, capability"""
        )
        self._jobs.clear()
        for kind in ("scene", "tile"):
            for capability in capabilities:
                # A scaler needs the zero, too.
                self._jobs.labels(kind, "ready", capability).set(0)
        for row in rows:
            self._jobs.labels(row["kind"], row["state"], row["capability"]).set(row["n"])
        self._deletions.set(await connection.fetchval("SELECT count(*) FROM deletion"))

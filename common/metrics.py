"""Prometheus metrics: one registry a service, and what every worker counts."""

from __future__ import annotations

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.process_collector import ProcessCollector

from common.messages import JobResult

DURATION_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 600, 1800, 3600, 7200)
"""Seconds: from graphs that do nothing to hours of processing."""


def new_registry() -> CollectorRegistry:
    """A registry that also tells memory, processor time and open files of this process."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry


def exposition(registry: CollectorRegistry) -> web.Response:
    """The text a Prometheus server reads."""
    return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


class WorkerMetrics:
    """What a worker counts of its jobs."""

    def __init__(self) -> None:
        self.registry = new_registry()
        self.running = Gauge("thresher_worker_jobs_running", "Jobs that run or wait for room here", registry=self.registry)
        self.refusing = Gauge(
            "thresher_worker_refusing", "1 while no new jobs are taken for want of disk or memory", registry=self.registry
        )
        self._ended = Counter("thresher_worker_jobs", "Ended jobs", ["kind", "graph", "outcome"], registry=self.registry)
        self._seconds = Histogram(
            "thresher_worker_job_seconds", "Duration of jobs", ["kind", "graph"], registry=self.registry, buckets=DURATION_BUCKETS
        )
        self._bytes = Counter("thresher_worker_stored_bytes", "Bytes of stored layers", ["kind", "graph"], registry=self.registry)

    def ended(self, graph: str, result: JobResult) -> None:
        self._ended.labels(result.kind, graph, result.outcome).inc()
        self._seconds.labels(result.kind, graph).observe((result.ended_at - result.started_at).total_seconds())
        self._bytes.labels(result.kind, graph).inc(sum(file.size for file in result.files))

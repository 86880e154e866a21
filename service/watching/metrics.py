"""What Prometheus is told; one registry a process's application, no globals."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BATCHES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """All metrics, by the names that dashboards know them by."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "gradcam_http_requests",
            "Requests answered.",
            ("method", "route", "status"),
            registry=registry,
        )
        self.request_seconds = Histogram(
            "gradcam_http_request_seconds",
            "From a request's first byte to its answer's last.",
            ("method", "route"),
            registry=registry,
            buckets=_SECONDS,
        )
        self.rejected = Counter(
            "gradcam_rejected_requests", "Requests refused, by code.", ("code",), registry=registry
        )
        self.in_flight = Gauge(
            "gradcam_in_flight", "Requests computed or waiting.", registry=registry
        )
        self.arriving = Gauge(
            "gradcam_uploads_arriving", "Uploads that are not whole yet.", registry=registry
        )
        self.queue_depth = Gauge(
            "gradcam_queue_depth", "Images waiting for the network.", registry=registry
        )
        self.batch_size = Histogram(
            "gradcam_batch_size", "Images a pass.", registry=registry, buckets=_BATCHES
        )
        self.compute_seconds = Histogram(
            "gradcam_compute_seconds",
            "Time of a pass, by model.",
            ("model",),
            registry=registry,
            buckets=_SECONDS,
        )
        self.model_loads = Counter(
            "gradcam_model_loads", "Models loaded.", ("model", "outcome"), registry=registry
        )
        self.model_evictions = Counter(
            "gradcam_model_evictions", "Models put out of memory.", registry=registry
        )
        self.models_loaded = Gauge("gradcam_models_loaded", "Models in memory.", registry=registry)
        self.shared_store_up = Gauge(
            "gradcam_shared_store_up",
            "1 while the Redis in which processes share answers does answer.",
            registry=registry,
        )
        self.shared_answers = Counter(
            "gradcam_shared_answers",
            "Answers given to other processes or asked of them, by what became of it.",
            ("outcome",),
            registry=registry,
        )
        self.unfinished_jobs = Gauge(
            "gradcam_unfinished_jobs", "Jobs queued or running.", registry=registry
        )
        self.workers = Gauge("gradcam_workers", "Workers that are up.", registry=registry)

"""What Prometheus reads of a process."""

from __future__ import annotations

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from service.watching.metrics import Metrics


def test_each_application_counts_for_itself() -> None:
    first, second = Metrics(), Metrics()
    first.requests.labels("GET", "/", "200").inc()
    text = generate_latest(first.registry).decode()
    assert 'gradcam_http_requests_total{method="GET",route="/",status="200"} 1.0' in text
    assert 'route="/"' not in generate_latest(second.registry).decode()


def test_all_are_ours_and_say_what_they_are() -> None:
    text = generate_latest(Metrics().registry).decode()
    families = [
        family
        for family in text_string_to_metric_families(text)
        if not family.name.endswith("_created")
    ]
    assert len(families) == len(list(vars(Metrics()))) - 1
    for family in families:
        assert family.name.startswith("gradcam_")
        assert family.documentation.endswith("."), family.name


def test_times_and_batches_have_bounds_that_tell_apart_what_happens() -> None:
    """A cell takes milliseconds and a large image seconds; a pass has at most 64 images."""
    metrics = Metrics()
    metrics.request_seconds.labels("GET", "/").observe(0.007)
    metrics.compute_seconds.labels("a").observe(20)
    metrics.batch_size.observe(32)
    text = generate_latest(metrics.registry).decode()
    for name, below, within in (
        ('gradcam_http_request_seconds_bucket{le="%s",method="GET",route="/"}', "0.005", "0.01"),
        ('gradcam_compute_seconds_bucket{le="%s",model="a"}', "10.0", "30.0"),
        ('gradcam_batch_size_bucket{le="%s"}', "16.0", "32.0"),
    ):
        assert f"{name % below} 0.0" in text
        assert f"{name % within} 1.0" in text

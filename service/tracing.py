"""OpenTelemetry spans, where the extra `otel` is installed and tracing is switched on."""

from __future__ import annotations

from fastapi import FastAPI

from cam_engine.errors import InvalidOption
from cam_engine.records import DISTRIBUTION


def instrument(app: FastAPI) -> None:
    """A span a request, sent where the OTEL_* variables say. Raises InvalidOption."""
    try:
        from opentelemetry import trace  # noqa: PLC0415
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )
        from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as error:
        raise InvalidOption(
            "GRADCAM_TRACING needs OpenTelemetry: pip install 'gradcam-service[otel]'"
        ) from error
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):  # the process has none of its own yet
        provider = TracerProvider(resource=Resource.create({"service.name": DISTRIBUTION}))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(provider)
    app.add_middleware(
        OpenTelemetryMiddleware, tracer_provider=provider, exclude_spans=["receive", "send"]
    )

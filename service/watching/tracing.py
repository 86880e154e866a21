"""OpenTelemetry, where the extra `otel` is installed and tracing is switched on.

FastAPI makes the requests' spans; ours are the stages below them.
"""

from __future__ import annotations

import os
from importlib.util import find_spec

from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace

from cam_engine.errors import InvalidOption
from cam_engine.pictures.recipes import DISTRIBUTION

# Without a configured provider its spans are no-ops.
tracer = trace.get_tracer("gradcam")

_OFF = TelemetryConfig(tracing=False, metrics=False, logs=False, operation_spans=False)
_PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
_EXPORTER = "opentelemetry.exporter.otlp.proto.http"


def telemetry(*, tracing: bool) -> TelemetryConfig:
    """What FastAPI is told: spans sent where the OTEL_* variables say, or nothing at all.

    Raises InvalidOption where the extra is not installed.
    """
    if not tracing:
        return _OFF
    try:
        installed = find_spec(_EXPORTER) is not None
    except ModuleNotFoundError:
        installed = False
    if not installed:
        raise InvalidOption(
            "GRADCAM_TRACING needs OpenTelemetry: pip install 'gradcam-service[otel]'"
        )
    os.environ.setdefault("OTEL_SERVICE_NAME", DISTRIBUTION)
    return TelemetryConfig(
        tracing=True,
        metrics=False,
        logs=False,
        operation_spans=False,
        auto_configure=True,
        exclude=lambda scope: scope.get("path") in _PROBES,
    )

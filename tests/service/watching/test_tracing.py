"""With tracing on, spans arrive at an OTLP collector."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from processes.eventually import eventually
from processes.serving import running

pytestmark = pytest.mark.system


class _Collector(HTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received: list[ExportTraceServiceRequest] = []

    def spans(self) -> dict[str, dict[str, str]]:
        return {
            span.name: {
                attribute.key: attribute.value.string_value for attribute in span.attributes
            }
            for message in list(self.received)
            for resource in message.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        }


class _Handler(BaseHTTPRequestHandler):
    server: _Collector

    def do_POST(self) -> None:
        message = ExportTraceServiceRequest()
        message.ParseFromString(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.received.append(message)
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Nothing: tests are quiet."""


def test_a_request_is_a_span_with_its_stages(
    sample_run: Path, cell: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector = _Collector()
    thread = threading.Thread(target=collector.serve_forever)
    thread.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
    try:
        with running(sample_run, tmp_path, tracing="true") as server, server.client() as client:
            answer = client.post("/v1/explanations", files={"image": cell.read_bytes()})
            assert answer.status_code == 200
            eventually("the spans are sent", lambda: "network" in collector.spans())
    finally:
        collector.shutdown()
        thread.join()
        collector.server_close()
    spans = collector.spans()
    assert {"decode", "network", "draw"} <= set(spans)
    requests = [name for name in spans if name.startswith("POST")]
    assert requests == ["POST /v1/explanations"]

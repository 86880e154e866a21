"""A process's life: warming up, being full, losing clients, stopping; what it says of it."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import httpx
import pytest

from processes.eventually import eventually
from processes.serving import Server, listening
from tests.service.asking import (
    CB,
    EXPLANATIONS,
    FOCAL,
    LIFECYCLE,
    SPECIES,
    assert_problem,
    facts,
    log_lines,
    logged,
    metric,
    post_image,
    sound,
)
from tests.service.odd_root import OddRoot
from tests.service.raw_http import connected, read_answer, upload_body, upload_head

pytestmark = pytest.mark.system

ARRIVING, IN_FLIGHT = "gradcam_uploads_arriving", "gradcam_in_flight"


def test_from_warming_up_to_the_end_no_request_is_lost(
    sample_run: Path, tmp_path: Path, cell: Path
) -> None:
    pinned = f"{CB},{FOCAL} {SPECIES}/cls_mobilenetv3_small_050_focal"
    with listening(sample_run, tmp_path, pinned_models=pinned) as server:
        with server.client() as client:
            early = client.get("/readyz")
            body = assert_problem(early, "warming-up")
            assert "is being loaded" in body["detail"]
            sound(client.get("/healthz"))
            eventually("it is ready", lambda: client.get("/readyz").status_code == 200)
            models = facts(client.get("/v1/models"))["models"]
            assert all(model["loaded"] for model in models)  # the default one is the fourth
        finishes_what_it_has_begun(server, cell)


def finishes_what_it_has_begun(server: Server, cell: Path) -> None:
    """Bodies that are half sent when SIGTERM comes are answered; then the process ends well."""
    body = upload_body(cell.read_bytes())
    with (
        connected(server.url) as first,
        connected(server.url) as two,
        connected(server.url) as three,
    ):
        uploads = (first, two, three)
        for upload in uploads:
            upload.sendall(upload_head(len(body)) + body[:-100])
        with server.client() as client:
            eventually("all have begun", lambda: metric(client, ARRIVING) == len(uploads))
        server.process.send_signal(signal.SIGTERM)
        eventually("it heeds the signal", lambda: log_lines(server, event="Shutting down"))
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{server.url}/healthz")
        assert server.process.poll() is None
        for upload in uploads:
            upload.sendall(body[-100:])
        for upload in uploads:
            answer = read_answer(upload)
            assert (answer.status, answer.headers["content-type"]) == (200, "image/png")
    assert server.process.wait(timeout=30) == 0
    assert "Traceback" not in server.log_file.read_text()


def test_a_broken_default_model_keeps_the_service_from_being_ready(
    hasty: Server, odd_root: OddRoot, cell: Path
) -> None:
    with hasty.client() as client:
        eventually("all is loaded", lambda: "being loaded" not in client.get("/readyz").text)
        body = assert_problem(client.get("/readyz"), "warming-up")
        assert body["detail"].startswith("default cannot be used: ")
        sound(client.get("/healthz"))
        assert_problem(post_image(client, cell), "checkpoint-invalid")
        eventually(
            "another model answers",
            lambda: post_image(client, cell, model=odd_root.best).status_code == 200,
        )


def test_what_is_past_its_deadline_is_given_up(hasty: Server, odd_root: OddRoot) -> None:
    with hasty.client() as client:
        question = {"experiment": odd_root.sound, "max_images": 48}
        response = client.post(EXPLANATIONS, json=question)
        assert_problem(response, "deadline-exceeded")
        assert response.headers["retry-after"]
        eventually("nothing waits", lambda: metric(client, "gradcam_queue_depth") == 0)
        assert metric(client, "gradcam_in_flight") == 0


def test_a_client_that_goes_away_while_sending_is_noticed(narrow: Server, cell: Path) -> None:
    with narrow.client() as client:
        body = upload_body(cell.read_bytes())
        with connected(narrow.url) as gone:
            gone.sendall(upload_head(len(body)) + body[:-100])
            eventually("the upload has begun", lambda: metric(client, ARRIVING) == 1)
        eventually("the upload is given up", lambda: metric(client, ARRIVING) == 0)
        sound(post_image(client, cell))
        eventually("it is logged", lambda: log_lines(narrow, status=499))


def test_a_client_that_goes_away_while_waiting_frees_its_place(narrow: Server, cell: Path) -> None:
    question = json.dumps({"experiment": LIFECYCLE, "max_images": 8}).encode()
    lines = (
        f"POST {EXPLANATIONS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(question)}\r\n\r\n"
    )
    before = len(log_lines(narrow, status=499))
    with narrow.client() as client:
        for _ in range(10):  # it may be answered before it is seen to be gone
            with connected(narrow.url) as gone:
                gone.sendall(lines.encode() + question)
                eventually("it is taken", lambda: metric(client, IN_FLIGHT) == 1)
            eventually("its place is free", lambda: metric(client, IN_FLIGHT) == 0)
            if len(log_lines(narrow, status=499)) > before:
                break
        else:
            pytest.fail("no client that went away was noticed")
        sound(post_image(client, cell))


def test_places_are_counted_only_while_they_are_taken(narrow: Server, cell: Path) -> None:
    with narrow.client() as client:
        for _ in range(3):
            sound(post_image(client, cell))
            assert post_image(client, b"no image").status_code == 422
            assert post_image(client, cell, colour="red").status_code == 422
        assert metric(client, "gradcam_in_flight") == 0


def test_every_request_leaves_one_line_that_says_where_its_time_went(
    common: Server, http: httpx.Client, cell: Path
) -> None:
    headers = {"X-Request-ID": "for-the-log"}
    sound(post_image(http, cell, headers=headers, model=CB))
    line = logged(common, request_id="for-the-log", event="request")
    assert (line["method"], line["route"], line["status"]) == ("POST", EXPLANATIONS, 200)
    assert (line["model"], line["level"]) == (CB, "info")
    assert line["batch_size"] >= 1
    for name in ("decode_ms", "compute_ms", "encode_ms"):
        assert 0 < line[name] <= line["ms"]
    assert "queue_ms" in line
    assert line["timestamp"].endswith("Z")


def test_a_refusal_leaves_a_line_too(common: Server, http: httpx.Client) -> None:
    http.get("/v1/models/none", headers={"X-Request-ID": "refused-1"})
    line = logged(common, request_id="refused-1")
    assert (line["status"], line["route"]) == (404, "/v1/models/{id:path}")


def test_every_line_of_the_log_is_json(common: Server, http: httpx.Client) -> None:
    http.get("/healthz")
    lines = common.log()
    assert len(lines) > 4
    assert all({"event", "level", "timestamp"} <= line.keys() for line in lines)


def test_metrics_have_the_names_that_dashboards_know(http: httpx.Client, cell: Path) -> None:
    sound(post_image(http, cell, model=CB))
    http.get("/v1/models/none")
    text = sound(http.get("/metrics")).text
    assert http.get("/metrics").headers["content-type"].startswith("text/plain")
    for name in (
        'gradcam_http_requests_total{method="POST",route="/v1/explanations",status="200"}',
        'gradcam_http_request_seconds_bucket{le="0.1",method="POST",route="/v1/explanations"}',
        "gradcam_queue_depth 0.0",
        "gradcam_in_flight 0.0",
        'gradcam_batch_size_bucket{le="1.0"}',
        f'gradcam_compute_seconds_count{{model="{CB}"}}',
        f'gradcam_model_loads_total{{model="{CB}",outcome="succeeded"}} 1.0',
        "gradcam_model_evictions_total 0.0",
        "gradcam_models_loaded ",
        'gradcam_rejected_requests_total{code="model-not-found"}',
    ):
        assert name in text, name
    assert "none" not in text  # no label from what callers write

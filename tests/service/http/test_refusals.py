"""Every error code that can be provoked over HTTP: its status, its body, and that nothing leaks."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from processes.serving import Server
from service.app import create_app
from service.http.problems import PROBLEMS
from service.settings import Settings
from tests.service.asking import (
    EXPLANATIONS,
    LIFECYCLE,
    assert_problem,
    assert_tells_nothing,
    metric,
    post_image,
)
from tests.service.conftest import BURNT_KEY
from tests.service.odd_root import CROPS, OddRoot
from tests.service.raw_http import connected, has_answered, read_answer, upload_body, upload_head

MULTIPART = {"Content-Type": "multipart/form-data; boundary=b"}
JSON_BODY = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class At:
    """What a case may ask: a service's client, a cell's image, the odd data root."""

    client: httpx.Client
    cell: Path
    root: OddRoot

    def post(self, body: Any) -> httpx.Response:
        return self.client.post(EXPLANATIONS, json=body)

    def send(self, content: bytes, headers: dict[str, str]) -> httpx.Response:
        return self.client.post(EXPLANATIONS, content=content, headers=headers)

    def image(self, image: Path | bytes | None = None, **fields: Any) -> httpx.Response:
        return post_image(self.client, self.cell if image is None else image, **fields)

    def model(self, name: str) -> httpx.Response:
        return self.image(model=f"{self.root.odd}/{name}")


Send = Callable[[At], httpx.Response]


def large_picture() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((1001, 1000), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def broken_off(at: At, missing: int) -> bytes:
    """A sound image and a field after it that a body without its last bytes loses."""
    disposition = b"--b\r\nContent-Disposition: form-data; "
    image = disposition + b'name="image"; filename="a.jpg"\r\n\r\n' + at.cell.read_bytes()
    field = disposition + b'name="model"\r\n\r\ncls_none'
    return (image + b"\r\n" + field + b"\r\n--b--")[:-missing]


def preflight_from_elsewhere(at: At) -> httpx.Response:
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    return at.client.options(EXPLANATIONS, headers=headers)


def one_too_many(at: At) -> httpx.Response:
    headers = {"X-API-Key": BURNT_KEY}
    answers = (at.client.get("/v1/experiments", headers=headers) for _ in range(999))
    return next(answer for answer in answers if answer.status_code != 200)


CASES: list[tuple[str, str, Send]] = [
    ("malformed-body", "odd", lambda at: at.send(b"{", JSON_BODY)),
    ("malformed-body", "odd", lambda at: at.send(b"[" * 60_000, JSON_BODY)),
    ("malformed-body", "odd", lambda at: at.send(b"\xff\xfe", JSON_BODY)),
    ("malformed-body", "odd", lambda at: at.send(b"x", {"Content-Type": "multipart/form-data"})),
    ("malformed-body", "odd", lambda at: at.send(b"not a part", MULTIPART)),
    ("malformed-body", "odd", lambda at: at.send(b"", MULTIPART)),
    ("malformed-body", "odd", lambda at: at.send(broken_off(at, 1), MULTIPART)),
    ("malformed-body", "odd", lambda at: at.send(broken_off(at, len("--b--")), MULTIPART)),
    ("malformed-body", "odd", lambda at: at.send(broken_off(at, len("x--b--")), MULTIPART)),
    ("api-key-required", "secured", lambda at: at.client.get("/v1/models")),
    (
        "host-not-allowed",
        "odd",
        lambda at: at.client.get("/v1/models", headers={"Host": "evil.example"}),
    ),
    (
        "cross-site-request",
        "odd",
        lambda at: at.client.get("/v1/models", headers={"Origin": "https://evil.example"}),
    ),
    (
        "api-key-invalid",
        "secured",
        lambda at: at.client.get("/v1/models", headers={"X-API-Key": "x"}),
    ),
    ("path-outside-root", "odd", lambda at: at.post({"image": "../x.jpg"})),
    ("not-found", "odd", lambda at: at.client.get("/v2/models")),
    ("not-found", "odd", lambda at: at.client.get("/docs/secrets.js")),
    ("model-not-found", "odd", lambda at: at.image(model="cls_none")),
    ("model-not-found", "odd", lambda at: at.client.get("/v1/models/none")),
    ("no-models-found", "empty", lambda at: at.image()),
    ("experiment-not-found", "odd", lambda at: at.client.get("/v1/experiments/none")),
    ("experiment-not-found", "odd", lambda at: at.client.get("/v1/experiments/none/images")),
    ("experiment-not-found", "odd", lambda at: at.post({"experiment": "none"})),
    ("image-not-found", "odd", lambda at: at.post({"experiment": at.root.odd, "image": "a.jpg"})),
    ("no-images-found", "odd", lambda at: at.post({"experiment": at.root.pictureless})),
    ("explanation-not-found", "odd", lambda at: at.client.get(f"{EXPLANATIONS}/{'0' * 64}")),
    ("method-not-allowed", "odd", lambda at: at.client.get(EXPLANATIONS)),
    ("method-not-allowed", "odd", lambda at: at.client.delete("/v1/models")),
    ("method-not-allowed", "odd", lambda at: at.client.request("PROPFIND", "/healthz")),
    ("not-acceptable", "odd", lambda at: at.image(headers={"Accept": "text/html"})),
    ("model-ambiguous", "odd", lambda at: at.image(model="cls_mobilenet_v3_small_cb")),
    ("body-too-large", "odd", lambda at: at.send(b" " * 70_000, JSON_BODY)),
    ("image-too-large", "odd", lambda at: at.image(b"\xff\xd8\xff" + b"0" * 300_000)),
    ("image-too-large", "odd", lambda at: at.image(large_picture())),
    ("unsupported-media-type", "odd", lambda at: at.send(b"x", {"Content-Type": "image/jpeg"})),
    ("unsupported-media-type", "odd", lambda at: at.send(b"", {})),
    ("invalid-request", "odd", lambda at: at.image(colour="red")),
    ("invalid-request", "odd", lambda at: at.client.post(EXPLANATIONS, files={"x": b"1"})),
    ("invalid-request", "odd", lambda at: at.send(b"[1]", JSON_BODY)),
    ("invalid-request", "odd", lambda at: at.client.post(f"{EXPLANATIONS}?view=panel", json={})),
    ("invalid-request", "odd", lambda at: at.image(alpha="nan")),
    ("invalid-option", "odd", lambda at: at.post({"experiment": at.root.sound, "view": "panel"})),
    ("invalid-image", "odd", lambda at: at.image(b"GIF89a" + bytes(8))),
    ("invalid-image", "odd", lambda at: at.image(b"")),
    (
        "invalid-image",
        "odd",
        lambda at: at.post({"experiment": at.root.odd, "image": f"{CROPS}/val/ring/broken.jpg"}),
    ),
    ("page-not-found", "odd", lambda at: at.image(page=2)),
    ("layer-not-found", "odd", lambda at: at.image(layer="features.99")),
    ("layer-not-spatial", "odd", lambda at: at.image(layer="classifier.0")),
    ("method-not-possible", "odd", lambda at: at.image(method="legrad")),
    ("class-not-found", "odd", lambda at: at.image(target="elf")),
    ("class-not-found", "odd", lambda at: at.image(target="4")),
    ("too-many-images", "odd", lambda at: at.post({"experiment": at.root.sound, "max_images": 5})),
    ("checkpoint-invalid", "odd", lambda at: at.model("cls_damaged")),
    ("checkpoint-unsafe", "odd", lambda at: at.model("cls_unsafe")),
    ("architecture-unknown", "odd", lambda at: at.model("cls_unknown")),
    ("weights-mismatch", "odd", lambda at: at.model("cls_mismatch")),
    ("class-names-mismatch", "odd", lambda at: at.model("cls_names")),
    ("non-finite-output", "odd", lambda at: at.model("cls_nan")),
    ("origin-not-allowed", "secured", preflight_from_elsewhere),
    ("rate-limited", "secured", one_too_many),
    (
        "deadline-exceeded",
        "hasty",
        lambda at: at.post({"experiment": at.root.sound, "max_images": 48}),
    ),
    ("warming-up", "hasty", lambda at: at.client.get("/readyz")),
]

JOB_CODES = (
    *("job-not-found", "job-unfinished", "nothing-to-retry", "output-busy", "file-not-found"),
    *("idempotency-conflict", "webhook-not-allowed", "jobs-unavailable"),
)
RESULT_CODES = ("output-holds-others", "result-replaced")
VIEW_TOKEN_CODES = ("view-token-invalid", "view-token-expired", "view-token-scope")
ELSEWHERE = {
    "explanation-gone": "a test of its own in test_again.py: a model's file is replaced",
    "queue-full": "below: it takes a second request at the same time",
    "headers-too-large": "before there is a request: test_protocol.py",
    "request-timeout": "below: its body comes too slowly",
    **dict.fromkeys(JOB_CODES, "with a Redis, in tests/service/routes/test_jobs.py"),
    **dict.fromkeys(RESULT_CODES, "with a worker, in tests/system/test_jobs_results.py"),
    **dict.fromkeys(VIEW_TOKEN_CODES, "with a clock and a key, in tests of view tokens"),
    "data-unavailable": "of a bucket: tests/service/test_data_in_bucket.py",
    "output-not-writable": "a full disk: tests/system/test_jobs_faults.py",
    "internal-error": "below, in this process: there is no known way to cause one from outside",
    "out-of-memory": "a device's memory cannot be used up in a test; see the engine's own tests",
    "shutting-down": "connections are refused by then; see test_admission.py",
}


@pytest.fixture(scope="module")
def clients(request: pytest.FixtureRequest) -> Iterator[Callable[[str], httpx.Client]]:
    """A client of the service of that fixture's name."""
    opened: dict[str, httpx.Client] = {}

    def client(name: str) -> httpx.Client:
        if name not in opened:
            opened_by = request.getfixturevalue(name)
            opened[name] = opened_by.client() if isinstance(opened_by, Server) else opened_by
        return opened[name]

    yield client
    for name, opened_client in opened.items():
        if name not in {"odd", "empty"}:
            opened_client.close()


@pytest.mark.parametrize(
    ("code", "where", "send"), CASES, ids=[f"{n}-{case[0]}" for n, case in enumerate(CASES)]
)
def test_a_refusal_is_a_problem_with_its_code_and_tells_nothing_of_the_machine(
    clients: Callable[[str], httpx.Client],
    odd_root: OddRoot,
    cell: Path,
    code: str,
    where: str,
    send: Send,
) -> None:
    response = send(At(clients(where), cell, odd_root))
    assert_problem(response, code)
    assert str(odd_root.root.parent) not in response.text
    assert not odd_root.booby_trap.exists()
    if PROBLEMS[code].status in {429, 503}:
        assert 1 <= int(response.headers["retry-after"]) <= 60


def test_every_code_is_provoked_or_excused() -> None:
    provoked = {code for code, _, _ in CASES}
    assert not provoked & set(ELSEWHERE)
    assert provoked | set(ELSEWHERE) == set(PROBLEMS)


def test_a_full_service_says_so_at_once(narrow: Server, cell: Path) -> None:
    sheet = {"experiment": LIFECYCLE, "max_images": 8}
    for _ in range(10):  # the sheet may be done before the image comes
        with narrow.client() as client, narrow.client() as other, ThreadPoolExecutor(1) as pool:
            asked = pool.submit(other.post, EXPLANATIONS, json=sheet)
            while not asked.done() and metric(client, "gradcam_in_flight") == 0:
                pass
            response = post_image(client, cell)
            assert asked.result().status_code == 200
            if response.status_code != 200:
                break
    assert_problem(response, "queue-full")
    assert response.headers["retry-after"] == "1"
    with narrow.client() as client:
        assert post_image(client, cell).status_code == 200


def test_a_body_that_comes_too_slowly_is_given_up(hasty: Server, cell: Path) -> None:
    with connected(hasty.url) as slow:
        slow.sendall(upload_head(len(body := upload_body(cell.read_bytes()))) + body[:-50])
        assert has_answered(slow, 5)
        answer = read_answer(slow)
    assert answer.status == 408
    assert b'"request-timeout"' in answer.body


@pytest.mark.parametrize("form", ["json", "console"])
def test_an_unforeseen_error_tells_only_its_request_id(
    form: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    app = create_app(Settings.model_validate({"data": tmp_path, "log_format": form}))

    @app.get("/broken")
    def broken() -> None:
        raise RuntimeError("a secret of /etc/passwd")

    with TestClient(app, "http://localhost", raise_server_exceptions=False) as client:
        headers = {"X-Request-ID": "asked-1", "X-API-Key": "gck_of-the-caller"}
        response = client.get("/broken", headers=headers)
    body = assert_problem(response, "internal-error")  # type: ignore[arg-type]  # of httpx2, which is alike
    assert body["request_id"] == "asked-1"
    assert "secret" not in response.text
    assert "RuntimeError" not in response.text
    logged = capfd.readouterr().err
    assert "a secret of" in logged
    assert "gck_" not in logged


def test_refusals_are_counted_by_code(odd: httpx.Client) -> None:
    odd.get("/v1/models/never-there")
    assert 'gradcam_rejected_requests_total{code="model-not-found"}' in odd.get("/metrics").text


def test_a_field_error_names_each_field(odd: httpx.Client, cell: Path) -> None:
    response = post_image(odd, cell, alpha="much", clahe="perhaps", colour="red", view="all")
    body = assert_problem(response, "invalid-request")
    assert {error["field"] for error in body["errors"]} == {"alpha", "clahe", "colour", "view"}
    for error in body["errors"]:
        assert error["detail"]
        assert_tells_nothing(error["detail"])


def test_the_time_that_a_body_took_counts_towards_the_deadline(
    sample_run: Path, cell: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count(step=31.0)  # seconds, more at each look than a request may take
    fake = SimpleNamespace(perf_counter=lambda: next(clock))
    monkeypatch.setattr("service.routes.explanations.time", fake)
    app = create_app(Settings.model_validate({"data": sample_run}))
    with TestClient(app, "http://localhost") as client:
        late = post_image(client, cell)  # type: ignore[arg-type]  # of httpx2, which is alike
    assert_problem(late, "deadline-exceeded")

"""`gradcam explain`, by a service of its own words: what is sent, written and said."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from processes.redis_server import free_port
from service.commands.arguments import main
from service.commands.explain import ServiceRefused, ServiceUnreachable, post_image, refusal

ANSWER = {
    "X-Gradcam-Prediction": "caf%C3%A9%20ring",
    "X-Gradcam-Probability": "0.9994",
    "X-Gradcam-Target": "elf",
    "X-Gradcam-Layer": "late",
    "X-Gradcam-Method": "LayerCAM",
    "X-Gradcam-Grid": "7x7",
    "X-Gradcam-Model": "run/x/cls_a",
}


class Recording(ThreadingHTTPServer):
    """Answers all with the same headers and body, and keeps what was sent."""

    status, more, body = 200, ANSWER, b"picture"

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.sent: list[tuple[str, dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Recording

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.sent.append((self.path, dict(self.headers), body))
        self.send_response(self.server.status)
        for name, value in self.server.more.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its name)
        """Nothing."""


@pytest.fixture
def service() -> Iterator[Recording]:
    with Recording() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cell.jpg").write_bytes(b"pixels")
    return Path("cell.jpg")


def explain(service: Recording, image: Path, *more: str) -> int:
    return main(["explain", str(image), "--url", f"{service.url}/", *more])


def fields(body: bytes) -> dict[str, str]:
    """Of a multipart body, by name."""
    boundary = body.split(b"\r\n", 1)[0]
    parts = [part.strip(b"\r\n") for part in body.split(boundary)[1:-1]]
    heads = [part.partition(b"\r\n\r\n") for part in parts]
    return {
        head.split(b'name="')[1].split(b'"')[0].decode(): value.decode() for head, _, value in heads
    }


def test_the_picture_is_written_and_said(
    service: Recording, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explain(service, image, "--view", "heatmap", "--method", "layercam", "--no-clahe") == 0
    ((path, headers, body),) = service.sent
    assert path == "/v1/explanations"
    assert "X-API-Key" not in headers
    sent = fields(body)
    assert sent.pop("image") == "pixels"
    assert sent["view"] == "heatmap"
    assert (sent["method"], sent["clahe"]) == ("layercam", "false")
    assert "layer" not in sent
    assert Path("cell_heatmap.png").read_bytes() == b"picture"
    assert capsys.readouterr().out == (
        "cell_heatmap.png: café ring >0.99, maps explain elf; late map, LayerCAM, 7x7; "
        "run/x/cls_a\n"
    )


def test_a_map_may_be_asked_for_that_is_not_seen(service: Recording, image: Path) -> None:
    assert explain(service, image, "--alpha", "0", "--target", "0", "--layer", "mid") == 0
    ((_, _, body),) = service.sent
    sent = fields(body)
    assert (sent["alpha"], sent["target"], sent["layer"]) == ("0.0", "0", "mid")
    assert set(sent) == {
        "image",
        "view",
        "alpha",
        "target",
        "layer",
    }  # the others are the service's


def test_notices_and_an_empty_layer_are_said(
    service: Recording, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service.more = {
        **ANSWER,
        "X-Gradcam-Target": ANSWER["X-Gradcam-Prediction"],
        "X-Gradcam-Empty": "true",
        "X-Gradcam-Notices": "Page%201%2C%20of%202,second",
    }
    assert explain(service, image, "-o", "deep/er/x.png") == 0
    assert Path("deep/er/x.png").read_bytes() == b"picture"
    assert capsys.readouterr().out.splitlines() == [
        (
            "deep/er/x.png: café ring >0.99; late map, LayerCAM, 7x7; run/x/cls_a; "
            "no positive evidence for this class in this layer"
        ),
        "notice: Page 1, of 2",
        "notice: second",
    ]


@pytest.mark.parametrize(("view", "suffix"), [("array", "npy"), ("maps", "npy"), ("panel", "png")])
def test_a_file_is_named_by_what_is_in_it(
    service: Recording, image: Path, view: str, suffix: str
) -> None:
    assert explain(service, image, "--view", view) == 0
    assert Path(f"cell_{view}.{suffix}").is_file()


def test_an_answer_in_json_is_printed_and_nothing_written(
    service: Recording, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service.body = b'{"a": 1}'
    assert explain(service, image, "--json", "--api-key", "gck_x") == 0
    assert json.loads(capsys.readouterr().out) == {"a": 1}
    assert [path.name for path in Path().iterdir()] == ["cell.jpg"]
    ((_, headers, _),) = service.sent
    assert (headers["Accept"], headers["X-API-Key"]) == ("application/json", "gck_x")


def test_a_refusal_is_one_line_with_its_code(
    service: Recording, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service.status = 422
    service.body = b'{"code": "invalid-image", "detail": "damaged", "request_id": "r1"}'
    assert explain(service, image) != 0
    assert "invalid-image: damaged (request r1)" in capsys.readouterr().err
    assert not Path("cell_overlay.png").exists()


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'"text"'])
def test_what_answers_in_other_words_may_be_another_service(body: bytes) -> None:
    answer = httpx.Response(502, content=body, request=httpx.Request("GET", "http://x/v1/jobs"))
    assert refusal(answer) == "HTTP 502 from http://x/v1/jobs: is this a gradcam service?"


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}", "http://[", "nowhere"])
def test_where_nothing_answers_it_is_said(image: Path, url: str) -> None:
    url = url.format(port=free_port())
    with pytest.raises(ServiceUnreachable, match="is it running"):
        post_image(url, image, {}, accept="*/*", api_key=None, timeout_seconds=5)


def test_refusals_and_silence_are_told_apart() -> None:
    assert (ServiceRefused.code, ServiceUnreachable.code) == (
        "service-refused",
        "service-unreachable",
    )


def test_an_image_that_cannot_be_read_is_said_before_anything_is_sent(
    service: Recording, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explain(service, image.with_name("missing.jpg")) != 0
    assert "cannot read missing.jpg: No such file" in capsys.readouterr().err
    assert service.sent == []


def test_a_place_that_cannot_be_written_is_said(
    service: Recording, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for output in ("cell.jpg/x.png", "cell.jpg/deep/x.png"):
        assert explain(service, image, "-o", output) != 0
        assert "output-not-writable" in capsys.readouterr().err

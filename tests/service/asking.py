"""What many tests ask of a running service, and check of its answers."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar, cast

import httpx
import numpy as np
from fastapi.testclient import TestClient
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from processes.eventually import eventually
from processes.serving import Server
from service.http.problems import MEDIA_TYPE, PROBLEMS

EXPLANATIONS = "/v1/explanations"
JSON = {"Accept": "application/json"}
ZIP = {"Accept": "application/zip"}
LIFECYCLE = "experiments/experiment_synthetic_lifecycle"
SPECIES = "experiments/experiment_synthetic_species"
CB = f"{LIFECYCLE}/cls_mobilenet_v3_small_cb"
FOCAL = f"{LIFECYCLE}/cls_mobilenet_v3_small_focal"
RING = "crops_gt_crops/crops/test/ring/cell_001.jpg"

_CHECKOUT = str(Path(__file__).resolve().parents[2])
_INTERNAL = re.compile(r"Traceback|site-packages|\.venv|/tmp/|File \\?\"|0x[0-9a-f]{8}")
_Answer = TypeVar("_Answer")


def post_image(
    client: httpx.Client,
    image: Path | bytes,
    *,
    headers: dict[str, str] | None = None,
    name: str = "cell_001.jpg",
    **fields: Any,
) -> httpx.Response:
    """Upload an image with the fields as text."""
    data = image if isinstance(image, bytes) else image.read_bytes()
    text = {key: str(value) for key, value in fields.items()}
    files = {"image": (name, data)}
    return client.post(EXPLANATIONS, files=files, data=text, headers=headers or {})


def as_client(client: TestClient) -> httpx.Client:
    """An application's own test client, which has the same methods."""
    return cast("httpx.Client", client)


def sound(response: httpx.Response) -> httpx.Response:
    """The answer, which must be a 200."""
    assert response.status_code == 200, response.text
    return response


def documented_body(document: dict[str, Any], path: str) -> dict[str, Any]:
    """What the OpenAPI document says of the JSON body of a POST: schema and examples."""
    body: dict[str, Any] = document["paths"][path]["post"]["requestBody"]["content"][JSON["Accept"]]
    return body


def facts(response: httpx.Response) -> dict[str, Any]:
    """The JSON of a 200."""
    body: dict[str, Any] = sound(response).json()
    return body


def pixels(png: bytes) -> np.ndarray[Any, Any]:
    """The picture's pixels."""
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return np.asarray(image)


def array(response: httpx.Response) -> np.ndarray[Any, Any]:
    """The array of an npy answer."""
    assert sound(response).headers["content-type"] == "application/x-npy"
    loaded: np.ndarray[Any, Any] = np.load(io.BytesIO(response.content), allow_pickle=False)
    return loaded


def assert_problem(response: httpx.Response, code: str) -> dict[str, Any]:
    """The answer is that problem, whole, for a person, and tells nothing of the machine."""
    row = PROBLEMS[code]
    assert response.status_code == row.status, response.text
    assert response.headers["content-type"] == MEDIA_TYPE, response.text
    body: dict[str, Any] = response.json()
    assert body["code"] == code, body
    assert (body["status"], body["title"]) == (row.status, row.title)
    assert body["type"].endswith(f":{code}")
    assert len(body["detail"]) > 10
    assert body["request_id"] == response.headers["x-request-id"]
    assert body["instance"].startswith("/")
    assert_tells_nothing(response.text)
    return body


def assert_tells_nothing(text: str) -> None:
    """No path of this machine and no traceback is in the text."""
    assert _CHECKOUT not in text
    assert not _INTERNAL.search(text), text


def metric(client: httpx.Client, name: str, **labels: str) -> float:
    """A metric's value, summed over the labels not given; 0 where it was never set."""
    families = text_string_to_metric_families(sound(client.get("/metrics")).text)
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def together(calls: Sequence[Callable[[], _Answer]]) -> list[_Answer]:
    """The answers of calls made at the same time."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


def logged(server: Server, **wanted: object) -> dict[str, Any]:
    """The one line of the log that holds these entries; it may come after the answer."""
    [line] = eventually(f"{wanted} are logged", lambda: log_lines(server, **wanted))
    return line


def log_lines(server: Server, **wanted: object) -> list[dict[str, Any]]:
    """The log's whole lines that hold these entries."""
    text = server.log_file.read_text()
    lines = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
    return [line for line in lines if wanted.items() <= line.items()]

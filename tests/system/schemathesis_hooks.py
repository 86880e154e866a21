"""What Schemathesis cannot know from the document: real image files, and what answers hold."""

from __future__ import annotations

import io
import itertools
import os
import re
from collections import defaultdict
from typing import Any

import httpx
import schemathesis
from hypothesis import strategies as st
from PIL import Image
from schemathesis import Case, HookContext, Response
from schemathesis.checks import CheckContext
from schemathesis.generation.meta import TestPhase

from tests.service.asking import CB, LIFECYCLE, RING

# Well-formed requests may name what the data root does not hold, and ask for more than is answered
# at once; nothing else of them may be refused as wrong.
UNKNOWN = {
    "page-not-found",
    "layer-not-found",
    "layer-not-spatial",
    "method-not-possible",
    "class-not-found",
    "too-many-images",
    "webhook-not-allowed",
    "idempotency-conflict",
}
_ACCEPTED = itertools.cycle(("*/*", "application/json", "application/zip"))
_JOB_ID = re.compile("[0-9a-f]{32}")
_FILES = itertools.cycle(("summary.csv", "summary.json"))
_OF_THE_ENDED_JOB = itertools.cycle((True, False))
# For each address by itself: workers ask several at a time.
_OF_THE_SAMPLE: defaultdict[str, itertools.cycle[bool]] = defaultdict(
    lambda: itertools.cycle((True, True, False))
)


def _file(kind: str) -> bytes:
    buffer = io.BytesIO()
    picture = Image.radial_gradient("L").resize((48, 40)).convert("RGB")
    picture.save(buffer, kind)
    return buffer.getvalue()


for _kind in ("jpeg", "png", "webp", "bmp", "tiff"):
    schemathesis.openapi.media_type(f"image/{_kind}", st.just(_file(_kind)))


@schemathesis.deserializer("image/png", "application/zip", "application/x-npy", "text/csv")
def binary(_context: object, response: Response) -> str:
    """Pictures and arrays: as the document has it, a string of bytes."""
    return response.content.decode("latin-1")


@schemathesis.hook
def map_body(_context: HookContext, body: Any) -> Any:
    """Half of the image names in JSON bodies become the name of a real image.

    It depends on nothing but the body: Hypothesis makes the same one again.
    """
    name = body.get("image") if isinstance(body, dict) else None
    if not isinstance(name, str) or not 1 <= len(name) <= 1000 or len(name) % 2:
        return body
    return {**body, "image": RING if body.get("experiment") else f"{LIFECYCLE}/{RING}"}


@schemathesis.hook
def before_call(_context: HookContext, case: Case[Any], _kwargs: dict[str, Any]) -> None:
    """Ask for every representation in turn: OpenAPI has no way to say that Accept chooses.

    In chains of requests it is JSON, from which the next request takes its digest.
    """
    if "/explanations" in case.path:
        chained = case.meta is not None and case.meta.phase.name == TestPhase.STATEFUL
        case.headers["Accept"] = "application/json" if chained else next(_ACCEPTED)

    if case.path.startswith("/v1/jobs/{job}") and case.method == "GET":
        _do_not_wait(case)
    positive = case.meta is not None and case.meta.generation.mode.is_positive
    if positive and case.path.endswith(("/predictions", "/thumbnails/{image}")):
        _name_the_sample(case)


def _name_the_sample(case: Case[Any]) -> None:
    """Most of the well-formed requests ask for what is there: their names must fit together."""
    if next(_OF_THE_SAMPLE[case.path]):
        case.path_parameters["path"] = LIFECYCLE
        if "image" in case.path_parameters:
            case.path_parameters["image"] = RING
        else:
            case.query["model"] = CB


def _do_not_wait(case: Case[Any]) -> None:
    """No worker is up: what waits for one would time out. Half of the random ids become that of
    a job that has ended.
    """
    if case.query.get("wait") in range(2, 61):
        case.query["wait"] = 1
    known = _JOB_ID.fullmatch(str(case.path_parameters.get("job")))
    if known and case.path.endswith("/events"):
        address = f"{os.environ['GRADCAM_TEST_URL']}/v1/jobs/{known[0]}/cancel"
        httpx.post(address, headers={"X-API-Key": os.environ["GRADCAM_TEST_KEY"]}, timeout=30)
    elif not known and next(_OF_THE_ENDED_JOB):
        case.path_parameters["job"] = os.environ["GRADCAM_TEST_JOB"]
    if ".." in str(case.path_parameters.get("path", "..")):
        return
    if case.path.endswith("/thumbnails/{path}"):  # only the ended job has a picture
        case.path_parameters["job"] = os.environ["GRADCAM_TEST_JOB"]
        case.path_parameters["path"] = os.environ["GRADCAM_TEST_PICTURE"]
    else:
        case.path_parameters["path"] = next(_FILES)


@schemathesis.check
def refused_for_what_the_data_root_holds(
    _context: CheckContext, response: Response, case: Case[Any]
) -> None:
    """A well-formed request is refused with 422 only for what is not there."""
    meta = case.meta
    if response.status_code == 422 and meta is not None and meta.generation.mode.is_positive:
        assert response.json()["code"] in UNKNOWN, response.text

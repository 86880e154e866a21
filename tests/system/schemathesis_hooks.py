"""What Schemathesis cannot know from the document: real image files, and what answers hold."""

from __future__ import annotations

import io
import itertools
from typing import Any

import schemathesis
from hypothesis import strategies as st
from PIL import Image
from schemathesis import Case, HookContext, Response
from schemathesis.checks import CheckContext
from schemathesis.generation.meta import TestPhase

# Well-formed requests may name what the data root does not hold, and ask for more than is answered
# at once; nothing else of them may be refused as wrong.
UNKNOWN = {"layer-not-found", "layer-not-spatial", "class-not-found", "too-many-images"}
_ACCEPTED = itertools.cycle(("*/*", "application/json", "application/zip"))


def _file(kind: str) -> bytes:
    buffer = io.BytesIO()
    picture = Image.radial_gradient("L").resize((48, 40)).convert("RGB")
    picture.save(buffer, kind)
    return buffer.getvalue()


for _kind in ("jpeg", "png", "webp", "bmp", "tiff"):
    schemathesis.openapi.media_type(f"image/{_kind}", st.just(_file(_kind)))


@schemathesis.deserializer("image/png", "application/zip", "application/x-npy")
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
    within = "" if body.get("experiment") else "experiments/experiment_synthetic_lifecycle/"
    return {**body, "image": f"{within}crops_gt_crops/crops/test/ring/cell_001.jpg"}


@schemathesis.hook
def before_call(_context: HookContext, case: Case, _kwargs: dict[str, Any]) -> None:
    """Ask for every representation in turn: OpenAPI has no way to say that Accept chooses.

    In chains of requests it is JSON, from which the next request takes its digest.
    """
    if "/explanations" in case.path:
        chained = case.meta is not None and case.meta.phase.name == TestPhase.STATEFUL
        case.headers["Accept"] = "application/json" if chained else next(_ACCEPTED)


@schemathesis.check
def refused_for_what_the_data_root_holds(
    _context: CheckContext, response: Response, case: Case
) -> None:
    """A well-formed request is refused with 422 only for what is not there."""
    meta = case.meta
    if response.status_code == 422 and meta is not None and meta.generation.mode.is_positive:
        assert response.json()["code"] in UNKNOWN, response.text

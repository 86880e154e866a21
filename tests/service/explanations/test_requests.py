"""What requests may hold: one schema for forms and JSON, and errors by field."""

from __future__ import annotations

from typing import Any

import pytest

from cam_engine.options import STAGES
from service.explanations.requests import (
    ExplanationOptions,
    StoredImageRequest,
    UploadFields,
    invalid_request,
    parse,
)
from service.http.problems import ServiceError


def refusal(schema: Any, **fields: Any) -> ServiceError:
    with pytest.raises(ServiceError) as refused:
        parse(schema, fields)
    assert refused.value.code == "invalid-request"
    return refused.value


def test_fields_of_a_form_are_text_and_those_of_json_are_not() -> None:
    fields = parse(
        UploadFields, {"bits": "8", "page": "3", "alpha": "0.25", "pictures": "map,panel"}
    )
    assert (fields.bits, fields.page, fields.alpha) == (8, 3, 0.25)
    assert fields.pictures == ("map", "panel")
    stored = parse(StoredImageRequest, {"image": "a", "bits": 8.0, "max_images": 3.0})
    assert (stored.bits, stored.max_images) == (8, 3)
    assert refusal(StoredImageRequest, image="a", bits="8").errors[0].field == "bits"
    assert refusal(StoredImageRequest, image="a", max_images=3.5).errors[0].field == "max_images"


@pytest.mark.parametrize("bits", ["٨", "8.0", "+8", "0x8", ""])
def test_a_number_of_a_form_is_written_in_plain_digits(bits: str) -> None:
    assert refusal(UploadFields, bits=bits).errors[0].field == "bits"


@pytest.mark.parametrize(
    ("fields", "layer"),
    [({}, "fused"), ({"method": "layercam"}, "late"), ({"layer": "mid"}, "mid")],
)
def test_the_fused_map_is_shown_unless_something_else_is_asked_for(
    fields: dict[str, str], layer: str
) -> None:
    assert parse(ExplanationOptions, fields).shown_layer == layer


@pytest.mark.parametrize(
    ("layer", "layers"),
    [
        (None, STAGES),
        ("fused", STAGES),
        ("early", STAGES),
        ("features.3", (*STAGES, "features.3")),
    ],
)
def test_all_stages_and_the_fused_map_are_computed(
    layer: str | None, layers: tuple[str, ...]
) -> None:
    options = parse(ExplanationOptions, {"layer": layer}).cam_options()
    assert (options.layers, options.fused) == (layers, True)


def test_a_field_that_is_not_known_is_refused_in_words() -> None:
    refused = refusal(UploadFields, colour="red")
    assert refused.detail == "colour: this field is unknown; see /docs for those that there are"


def test_four_mistakes_are_said_and_all_are_listed() -> None:
    wrong = dict.fromkeys(("alpha", "bits", "blend", "clahe", "view"), "much")
    refused = refusal(UploadFields, **wrong)
    assert {error.field for error in refused.errors} == set(wrong)
    assert refused.detail == "; ".join(
        f"{error.field}: {error.detail}" for error in refused.errors[:4]
    )


def test_what_is_wrong_with_the_body_as_a_whole_has_its_name() -> None:
    refused = invalid_request([{"loc": (), "type": "x", "msg": "no object"}])
    assert [(error.field, error.detail) for error in refused.errors] == [("body", "no object")]

"""The table of error codes, and errors as the bodies of answers."""

from __future__ import annotations

import pytest

from cam_engine.errors import (
    CamError,
    CheckpointNotFound,
    ImageNotFound,
    OutOfMemory,
    OutputNotWritable,
)
from service.http.problems import (
    PROBLEMS,
    FieldError,
    ServiceError,
    of_cam_error,
    problem_object,
    table_markdown,
)


def test_raising_an_unknown_code_is_a_mistake_in_the_service() -> None:
    with pytest.raises(KeyError):
        _ = ServiceError("no-such-code", "whatever").type


@pytest.mark.parametrize("error", [OutOfMemory("no room"), OutputNotWritable("no room")])
def test_what_the_library_cannot_do_now_says_when_to_try_again(error: CamError) -> None:
    answer = of_cam_error(error, "/data")
    assert answer.type.status == 503
    assert int(answer.headers["Retry-After"]) >= 1


ROOT = "/data/results"


def test_an_error_of_the_library_keeps_its_code_and_loses_where_the_root_is() -> None:
    told = of_cam_error(ImageNotFound("no image at /data/results/a/b.jpg in /data/results"), ROOT)
    assert (told.code, told.detail) == ("image-not-found", "no image at a/b.jpg in the data root")
    assert told.headers == {}
    assert of_cam_error(CheckpointNotFound("none"), ROOT).code == "model-not-found"
    busy = of_cam_error(OutOfMemory("cuda has too little memory"), ROOT)
    assert (busy.type.status, busy.headers) == (503, {"Retry-After": "5"})


def test_an_error_without_a_row_says_nothing() -> None:
    class Unheard(CamError):
        code = "unheard-of"

    told = of_cam_error(Unheard("a secret of the inside"), ROOT)
    assert (told.code, told.detail) == ("internal-error", "an unexpected error")


def test_a_problem_is_its_row_and_what_happened() -> None:
    errors = (FieldError("alpha", "too much"), FieldError("view", "unknown"))
    error = ServiceError("invalid-request", "alpha: too much", errors=errors)
    assert problem_object(error, "/v1/explanations", "id-1") == {
        "type": "urn:gradcam:problem:invalid-request",
        "title": "Fields are wrong",
        "status": 422,
        "detail": "alpha: too much",
        "instance": "/v1/explanations",
        "code": "invalid-request",
        "request_id": "id-1",
        "errors": [
            {"field": "alpha", "detail": "too much"},
            {"field": "view", "detail": "unknown"},
        ],
    }
    assert "errors" not in problem_object(ServiceError("queue-full", ""), "/", "")


def test_the_tables_lines_are_those_of_a_document() -> None:
    head, rule, *rows = table_markdown()
    assert head.split(" | ") == ["| Status", "Code", "Meaning", "What to do |"]
    assert rule == "|---|---|---|---|"
    assert len(rows) == len(PROBLEMS)
    assert "| 503 | `queue-full` | Busy | Try again as Retry-After says. |" in rows
    assert all(row.count("|") == 5 for row in rows)


def test_every_row_is_an_error_and_says_what_to_do() -> None:
    for code, row in PROBLEMS.items():
        assert (code, row.status in range(400, 600)) == (row.code, True)
        assert row.title
        assert row.remedy.endswith(".")

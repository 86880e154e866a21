"""What was left out, as JSON says it."""

from __future__ import annotations

from cam_engine.experiments.skipped import Skipped, SkippedKind
from service.models.responses import skipped_files


def test_what_was_left_out_is_counted_and_said_by_reason() -> None:
    skipped = Skipped(
        (SkippedKind("link-broken", 1, ("a.jpg",)), SkippedKind("another-kind", 3, (".pdf",)))
    )
    assert skipped_files(skipped).model_dump(mode="json") == {
        "total": 4,
        "words": skipped.words,
        "kinds": [
            {"reason": "link-broken", "count": 1, "examples": ["a.jpg"]},
            {"reason": "another-kind", "count": 3, "examples": [".pdf"]},
        ],
    }
    assert "link that leads nowhere: a.jpg" in skipped_files(skipped).words


def test_where_nothing_was_left_out_nothing_is_said() -> None:
    assert skipped_files(Skipped()).model_dump() == {"total": 0, "words": "", "kinds": []}

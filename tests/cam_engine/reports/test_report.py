"""A report's verdicts, and its JSON by the schema that is documented."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from cam_engine.evidence.resampling import Interval
from cam_engine.reports.criteria import Criterion, Section, Verdict, make_table
from cam_engine.reports.report import ModelReport, Report, worst

SCHEMA = Path(__file__).resolve().parents[3] / "docs/report.schema.json"
FACTS: Mapping[str, Any] = {
    "split": "test",
    "crops": 2,
    "seed": 0,
    "effort": {},
    "clahe": True,
    "software": "gradcam-service 0.1.0",
    "libraries": {"scipy": "1.17.1"},
    "data": "0" * 64,
}


def section(*verdicts: Verdict) -> Section:
    interval = Interval(0.5, 0.4, float("nan"))
    criteria = tuple(
        Criterion("a.b", verdict, "So it is.", 0.5, interval, 20, 0.3) for verdict in verdicts
    )
    table = make_table("a.t", "T", "name, x:number", [("one", float("nan"))])
    return Section("a", "A", (), criteria, (table,))


def report(*models: ModelReport, own: Section | None = None) -> Report:
    return Report("experiment_x", FACTS, (own or section("pass"),), models, ("A limit.",))


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (("pass", "cannot_tell", "fail"), "fail"),
        (("pass", "cannot_tell"), "cannot_tell"),
        (("pass",), "pass"),
        ((), None),
    ],
)
def test_a_sections_verdict_is_its_worst(verdicts: tuple[Verdict, ...], expected: str) -> None:
    assert worst(section(*verdicts).criteria) == expected


def test_what_fails_is_a_failed_report() -> None:
    whole = ModelReport("m", {}, (section("pass", "cannot_tell"),))
    assert not report(whole).failed
    assert report(whole, ModelReport("n", {}, (section("fail"),))).failed
    assert report(whole, ModelReport("n", {}, error=("checkpoint-invalid", "broken"))).failed
    assert report(whole, own=section("fail")).failed


def test_the_json_is_what_its_schema_says() -> None:
    made = report(
        ModelReport("m", {"architecture": "resnet50"}, (section("pass", "fail"),)),
        ModelReport("n", {}, error=("checkpoint-invalid", "broken")),
    )
    document = json.loads(json.dumps(made.as_json(), allow_nan=False))
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(document, schema)
    first, second = document["models"]
    assert [one["verdict"] for one in first["criteria"]] == ["pass", "fail"]
    assert first["criteria"][0]["interval"] == [0.4, None]
    assert second["error"] == {"code": "checkpoint-invalid", "detail": "broken"}
    broken = {**document, "models": [{**first, "criteria": [{"id": "a.b", "verdict": "maybe"}]}]}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, schema)

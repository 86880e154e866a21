"""Text for a paper has the numbers of the report, CLAIM's items and references that can be read."""

from __future__ import annotations

import re
from typing import Any

from cam_engine.evidence.calibration import BINS, DRAWS
from cam_engine.evidence.resampling import RESAMPLES
from cam_engine.reports.items.methods import REFERENCES, write_methods
from cam_engine.reports.report import ModelReport
from tests.cam_engine.reports.items.crafted import table

FACTS: dict[str, Any] = {
    "split": "test",
    "crops": 1234,
    "seed": 7,
    "clahe": False,
    "libraries": {"scipy": "1.2.3"},
}


def model(name: str, architecture: str = "densenet121", seeds: int = 5) -> ModelReport:
    facts = {
        "architecture": architecture,
        "sha256": "ab" * 32,
        "versions": {"torch": "2.0"},
        "effort": {"random_seeds": seeds},
    }
    return ModelReport(name, facts)


def test_numbers_are_filled_in() -> None:
    models = [model("a"), model("b", "resnet50"), ModelReport("c", {}, error=("code", "Said."))]
    section = write_methods(FACTS, models, 56)
    text = " ".join(section.paragraphs)
    for said in (
        "2 classifiers (densenet121, resnet50) were evaluated on 1,234 crops of the test split",
        "from 56 independent units",
        "classified without contrast",
        f"({RESAMPLES:,} resamples, seed 7)",
        f"{BINS} bins of equal mass",
        f"{DRAWS:,} draws",
        "(5 seeds, batch norms' statistics",
    ):
        assert said in text
    assert "classified with contrast" in " ".join(
        write_methods({**FACTS, "clahe": True}, models, 56).paragraphs
    )
    assert table(section, "methods.versions").rows == (("torch", "2.0"), ("scipy", "1.2.3"))
    assert table(section, "methods.models").rows == (
        ("a", "densenet121", "ab" * 32),
        ("b", "resnet50", "ab" * 32),
    )


def test_claim_has_its_44_items() -> None:
    rows = table(write_methods(FACTS, [model("a")], 3), "methods.claim").rows
    assert [row[0] for row in rows] == list(range(1, 45))
    for _, asked, answer, where in rows:
        assert asked
        assert answer == ("answered here" if where else "only the authors can tell")
    answered = {row[0] for row in rows if row[3]}
    assert {28, 29, 31, 37, 39} <= answered
    assert not {1, 5, 11, 34, 44} & answered


def test_references_are_bibtex() -> None:
    """Each entry: a type, a key of its own, and fields in braces that close."""
    entries = REFERENCES.split("\n")
    keys = []
    for entry in entries:
        match = re.fullmatch(r"@(inproceedings|article)\{([a-z0-9]+), (.*)\}", entry)
        assert match is not None, entry
        keys.append(match[2])
        fields, rest = {}, match[3]
        while rest:
            field = re.match(r"(\w+)=\{", rest)
            assert field is not None, rest
            depth, end = 1, field.end()
            while depth:
                depth += {"{": 1, "}": -1}.get(rest[end], 0)
                end += 1
            fields[field[1]] = rest[field.end() : end - 1]
            rest = rest[end:].removeprefix(", ")
        assert {"title", "author", "year"} <= set(fields)
        assert re.fullmatch(r"(19|20)\d\d", fields["year"])
        assert "journal" in fields or "booktitle" in fields
        assert not re.search(r"[^\x20-\x7e]", entry)
    assert len(set(keys)) == len(keys) >= 15
    assert REFERENCES in write_methods(FACTS, [model("a")], 3).paragraphs[-1]


def test_without_any_model_that_was_made_there_is_text() -> None:
    section = write_methods(FACTS, [ModelReport("c", {}, error=("code", "Said."))], 1)
    assert section.paragraphs[0].startswith("0 classifiers were evaluated on 1,234 crops")
    one = write_methods(FACTS, [model("a", seeds=1)], 3)
    assert one.paragraphs[0].startswith("1 classifier (densenet121) was evaluated on")
    assert "weights (1 seed, batch" in one.paragraphs[1]
    assert "None" not in " ".join(section.paragraphs)
    assert table(section, "methods.models").rows == ()

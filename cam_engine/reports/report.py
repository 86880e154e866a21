"""A whole report: the experiment's sections, each model's, and what made it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cam_engine.reports.criteria import Criterion, Section, Verdict

VERSION = 1  # of the JSON document
_WORST_FIRST: tuple[Verdict, ...] = ("fail", "cannot_tell", "pass")


@dataclass(frozen=True, slots=True)
class ModelReport:
    """One model; error: (code, detail) where nothing could be made of it."""

    name: str
    facts: Mapping[str, Any]
    sections: tuple[Section, ...] = ()
    error: tuple[str, str] | None = None

    @property
    def criteria(self) -> tuple[Criterion, ...]:
        """Of all sections."""
        return tuple(criterion for section in self.sections for criterion in section.criteria)


@dataclass(frozen=True, slots=True)
class Report:
    """What the documents are made of.

    facts: seed, split, versions, digests and options: the same ones make the same report.
    limits: sentences on what was not shown. appendix: sections that come last.
    """

    experiment: str
    facts: Mapping[str, Any]
    sections: tuple[Section, ...]
    models: tuple[ModelReport, ...]
    limits: tuple[str, ...]
    appendix: tuple[Section, ...] = ()

    @property
    def criteria(self) -> tuple[Criterion, ...]:
        """The experiment's own."""
        return tuple(criterion for section in self.sections for criterion in section.criteria)

    @property
    def judged(self) -> dict[str, str]:
        """Titles of the models' sections that have criteria, by id: columns of the verdicts."""
        sections = (section for model in self.models for section in model.sections)
        return {section.id: section.title for section in sections if section.criteria}

    @property
    def failed(self) -> bool:
        """Whether any criterion failed, or any model could not be reported on."""
        return any(model.error is not None for model in self.models) or any(
            criterion.verdict == "fail" for criterion in self._all()
        )

    def _all(self) -> Iterator[Criterion]:
        yield from self.criteria
        for model in self.models:
            yield from model.criteria

    def as_json(self) -> dict[str, Any]:
        """The document `report.json`; its schema is docs/report.schema.json."""
        return {
            "version": VERSION,
            "experiment": self.experiment,
            "facts": dict(self.facts),
            "criteria": [criterion.as_json() for criterion in self.criteria],
            "tables": [table.as_json() for section in self.sections for table in section.tables],
            "limits": list(self.limits),
            "models": [
                {
                    "name": model.name,
                    "facts": dict(model.facts),
                    "error": model.error and {"code": model.error[0], "detail": model.error[1]},
                    "criteria": [criterion.as_json() for criterion in model.criteria],
                    "tables": [
                        table.as_json() for section in model.sections for table in section.tables
                    ],
                }
                for model in self.models
            ],
        }


def worst(criteria: tuple[Criterion, ...]) -> Verdict | None:
    """A section's verdict: its worst criterion's; None where it has none."""
    verdicts = {criterion.verdict for criterion in criteria}
    return next((verdict for verdict in _WORST_FIRST if verdict in verdicts), None)

"""Makes a report: one model after the other, measure by measure, kept as each is done."""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import cam_engine
from cam_engine.class_names import class_index
from cam_engine.confined import ConfinedFolder
from cam_engine.errors import CamError, NoImagesFound, error_of_item
from cam_engine.experiments.finding import Experiment, ModelFolder
from cam_engine.experiments.picking import pick_images
from cam_engine.maps.explainer import Explainer
from cam_engine.models.header_reading import read_header
from cam_engine.options import CamOptions, FigureStyle
from cam_engine.pictures.recipes import DISTRIBUTION, run_facts, to_json
from cam_engine.reports.audit import audit_of_data
from cam_engine.reports.criteria import Criterion, Section
from cam_engine.reports.crops import Crop, crops_beside, read_crops
from cam_engine.reports.items.calibrated import measure_calibration
from cam_engine.reports.items.cause import measure_cause
from cam_engine.reports.items.failures import show_failures
from cam_engine.reports.items.faithfulness import measure_faithfulness
from cam_engine.reports.items.inputs import audit_inputs, recorded_accuracies
from cam_engine.reports.items.knowledge import measure_knowledge
from cam_engine.reports.items.localisation import measure_localisation
from cam_engine.reports.items.methods import write_methods
from cam_engine.reports.items.performance import compare_models, measure_performance
from cam_engine.reports.items.shortcuts import measure_shortcuts
from cam_engine.reports.items.stability import measure_stability
from cam_engine.reports.kept import KeptSections, digest_of
from cam_engine.reports.report import ModelReport, Report
from cam_engine.reports.study import QUICK, Effort, Study
from cam_engine.stores import access

_LIBRARIES = ("scikit-learn", "scikit-image", "scipy", "ImageHash", "typst", "XlsxWriter")
_VALIDATION = "val"
LIMITS = (
    (
        "A map shows where evidence for a class lies in the image, not that a biologist would "
        "call it evidence, nor that the model would be right on another laboratory's slides."
    ),
    (
        "Localisation, class sensitivity and faithfulness are three different things: a map may "
        "pass one and fail another, and each is shown beside controls that know nothing of the "
        "network."
    ),
    (
        "Insertion, deletion and ROAD show the network images that it was not trained on; a fall "
        "of the score may come from that as well."
    ),
    (
        "All figures hold for these crops. Crops of the same slide or the same cell are not "
        "independent; where slides are not known, intervals are too narrow."
    ),
)

Load = Callable[[Path], Explainer]
Tell = Callable[[str], None]
Measure = Callable[[Study], Section]


@dataclass(frozen=True)
class ReportRequest:
    """What is asked for.

    load: a checkpoint's explainer. boxes, fields: where parasites are, and the images that crops
    were cut from. max_images: most crops of the split, as many of each class as there are.
    """

    experiment: Experiment
    models: tuple[ModelFolder, ...]
    load: Load
    split: str = "test"
    boxes: Path | None = None
    fields: Path | None = None
    max_images: int | None = None
    seed: int = 0
    effort: Effort = QUICK
    options: CamOptions = field(default_factory=CamOptions)


def make_report(request: ReportRequest, output: ConfinedFolder, tell: Tell) -> Report:
    """All of it. A model or a measure that fails is said and does not stop the others.

    Raises NoImagesFound for a split without labelled crops, OutputNotWritable.
    """
    making = _Making(request, output, tell)
    return making.report()


class _Making:
    def __init__(self, request: ReportRequest, output: ConfinedFolder, tell: Tell) -> None:
        self.request, self.tell = request, tell
        self.kept, self.digests = KeptSections(output), set[str]()
        self.all_crops = read_crops(request.experiment, request.boxes)
        self.crops = self._picked([c for c in self.all_crops if c.split == request.split])
        if not self.crops:
            listed = request.experiment.look_for_images(request.split)
            raise NoImagesFound(
                f"{request.experiment.name} has no crops in class folders of the split "
                f"{request.split}; splits: {', '.join(request.experiment.splits) or 'none'}"
                + (f"; skipped: {listed.skipped.words}" if listed.skipped else "")
            )
        self.beside = [] if request.boxes is None else crops_beside(request.boxes)
        self.places = digest_of({"boxes": self.beside, "fields": request.fields})
        crops = access.ahead(self.all_crops, lambda crop: crop.file)
        self.files = {crop.file: _sha256(crop.file) for crop in crops}

    def report(self) -> Report:
        request = self.request
        self.where = request.experiment.name
        self.tell(f"{self.where}: audit of the data")
        audit = audit_of_data(self.all_crops, request.split, self._class_names())
        self.clusters = dict(zip(self.all_crops, audit.clusters, strict=True))
        self.leaked = frozenset(self.all_crops[at] for at in audit.leaked)
        models = []
        right: dict[str, NDArray[np.bool_]] = {}
        for at, model in enumerate(request.models, 1):
            self.where = f"{model.name} ({at} of {len(request.models)})"
            made = self._model(model)
            models.append(made)
            right.update(_right_of(made))
            gc.collect()
        sections = [audit.section]
        if len(right) > 1:
            sections.append(_compared(right))
        facts = self._facts()
        units = len({self.clusters[crop] for crop in self.crops})
        self.kept.forget_others(self.digests)
        return Report(
            request.experiment.name,
            facts,
            tuple(sections),
            tuple(models),
            LIMITS,
            (write_methods(facts, models, units),),
        )

    def _class_names(self) -> dict[str, tuple[str, ...]]:
        """Of the models whose files say them."""
        names = {}
        for model in self.request.models:
            try:
                header = read_header(model.checkpoint)
            except CamError:  # said once it is loaded
                continue
            if header.class_names is not None:
                names[model.name] = tuple(header.class_names)
        return names

    def _model(self, model: ModelFolder) -> ModelReport:
        try:
            self.tell(f"{self.where}: loading")
            explainer = self.request.load(model.checkpoint)
            study = self._study(model.name, explainer, self.crops)
        except Exception as raised:
            error = error_of_item(raised, model.name)
            self.tell(f"{self.where}: error [{error.code}]: {error}")
            return ModelReport(model.name, {}, error=(error.code, str(error)))
        facts = self._model_facts(study)
        sections = tuple(
            self._section(id_, title, {**facts, "measure": id_}, lambda: measure(study))  # noqa: B023  called before the next round
            for id_, title, measure in self._measures(study)
        )
        return ModelReport(model.name, facts, sections)

    def _measures(self, study: Study) -> Iterator[tuple[str, str, Measure]]:

        def audit(study: Study) -> Section:
            return audit_inputs(study, self._others(study), self.request.experiment.folder)

        yield "inputs", "Inputs as in training", audit
        yield "performance", "Performance", measure_performance
        yield "calibration", "Calibration", measure_calibration
        yield "localisation", "Localisation", self._localisation
        yield "knowledge", "Knows model and class", measure_knowledge
        yield "faithfulness", "Faithfulness", measure_faithfulness
        yield "cause", "Cause", measure_cause
        yield "shortcuts", "Shortcuts", measure_shortcuts
        yield "stability", "Stability", measure_stability
        yield "failures", "Failure analysis", show_failures

    def _validation(self) -> list[Crop]:
        """Of another split than that of the report: no weight was learned from these either."""
        if self.request.split == _VALIDATION:
            return []
        return [crop for crop in self.all_crops if crop.split == _VALIDATION]

    def _others(self, study: Study) -> Study | None:
        """The model over the crops of validation, where its classes are there."""
        names = study.class_names
        crops = [c for c in self._validation() if class_index(c.label, names) is not None]
        return self._study(study.name, study.explainer, crops) if crops else None

    def _localisation(self, study: Study) -> Section:
        return measure_localisation(study, self.beside, self.request.fields)

    def _section(
        self, id_: str, title: str, facts: Mapping[str, Any], make: Callable[[], Section]
    ) -> Section:
        digest = digest_of({"section": id_, **facts})
        self.digests.add(digest)
        if (section := self.kept.read(digest)) is not None:
            self.tell(f"{self.where}: {title.lower()} (kept)")
            return section
        self.tell(f"{self.where}: {title.lower()}")
        try:
            section = make()
        except Exception as raised:
            error = error_of_item(raised, title)
            said = f"This could not be measured: error [{error.code}]: {error}"
            self.tell(f"{self.where}: {said}")
            return Section(id_, title, (), (Criterion(f"{id_}.measured", "cannot_tell", said),))
        self.kept.write(digest, section)
        return section

    def _study(self, name: str, explainer: Explainer, crops: Sequence[Crop]) -> Study:
        names = explainer.classifier.class_names
        known = tuple(crop for crop in crops if class_index(crop.label, names) is not None)
        if not known:
            raise NoImagesFound(
                f"no folder of crops is named like a class of {name} ({', '.join(names)})"
            )
        return Study(
            name,
            explainer,
            known,
            tuple(self.clusters[crop] for crop in known),
            tuple(crop in self.leaked for crop in known),
            replace(self.request.options, layers=(), fused=True),
            self.request.seed,
            self.request.effort,
        )

    def _picked(self, crops: list[Crop]) -> list[Crop]:
        """As many of each class as there are, in their own order."""
        most = self.request.max_images
        if most is None or len(crops) <= most:
            return crops
        items = self.request.experiment.look_for_images(self.request.split).items
        chosen = {item.path for item in pick_images(items, most, "balanced", self.request.seed)}
        return [crop for crop in crops if crop.path in chosen]

    def _described(self, crops: Sequence[Crop]) -> list[list[Any]]:
        return [
            [
                self.files[crop.file],
                crop.name,
                crop.split,
                crop.label,
                crop.field,
                crop.slide,
                crop.box,
                crop.field_box,
            ]
            for crop in crops
        ]

    def _model_facts(self, study: Study) -> dict[str, Any]:
        facts = run_facts(study.name, study.explainer, study.options, FigureStyle())
        said = json.loads(to_json(facts))
        wanted = ("architecture", "class_names", "input_size", "mean", "std", "precision", "device")
        return {
            **{name: said[name] for name in wanted},
            "sha256": facts.model_sha256,
            "preprocessing": facts.preprocessing,
            "notices": list(facts.notices),
            "versions": said["versions"],
            "crops": len(study.crops),
            "crops_sha256": digest_of({"crops": self._described(study.crops)}),
            "others_sha256": digest_of({"crops": self._described(self._validation())}),
            "recorded": [
                asdict(one) for one in recorded_accuracies(study, self.request.experiment.folder)
            ],
            "options": digest_of({"options": said["options"]}),
            "units": digest_of({"units": study.clusters, "leaked": study.leaked}),
            "places": self.places,
            "software": _software(),
            "seed": study.seed,
            "effort": asdict(study.effort),
        }

    def _facts(self) -> dict[str, Any]:
        request = self.request
        return {
            "split": request.split,
            "crops": len(self.crops),
            "seed": request.seed,
            "effort": asdict(request.effort),
            "clahe": request.options.clahe,
            "software": f"{DISTRIBUTION} {version(DISTRIBUTION)}",
            "libraries": {name: version(name) for name in _LIBRARIES},
            "data": digest_of({"crops": self._described(self.all_crops)}),
        }


def _right_of(model: ModelReport) -> dict[str, NDArray[np.bool_]]:
    """By the model's name, which crops it is right on."""
    for section in model.sections:
        for table in section.tables:
            if table.id == "performance.predictions":
                return {model.name: np.array([bool(row[-1]) for row in table.rows])}
    return {}


def _compared(right: Mapping[str, NDArray[np.bool_]]) -> Section:
    """Of models with the same crops; others have classes of their own."""
    most = max(len(one) for one in right.values())
    return compare_models({name: one for name, one in right.items() if len(one) == most})


@cache
def _software() -> str:
    """Digest of this software's own sources: what another version kept is measured anew."""
    digest = hashlib.sha256()
    for path in sorted(Path(cam_engine.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _sha256(path: Path) -> str:
    access.bring(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

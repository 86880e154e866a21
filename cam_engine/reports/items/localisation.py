"""Do maps point at the parasite? Against boxes, with controls that know nothing of the network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from skimage.filters import threshold_otsu

from cam_engine.class_names import class_index
from cam_engine.evidence.controls import centred_gaussian, uniform_map
from cam_engine.evidence.localisation import (
    Mask,
    average_precision,
    energy,
    intersection_over_union,
    peak_share,
)
from cam_engine.evidence.resampling import ClusterBootstrap
from cam_engine.images.decoding import IMAGE_SUFFIXES, read_image
from cam_engine.pictures.rendering import full_size_map
from cam_engine.reports.criteria import Cell, Criterion, Section, make_table
from cam_engine.reports.crops import Box, Crop
from cam_engine.reports.study import Study
from cam_engine.reports.words import (
    above,
    counted,
    figure_with,
    if_informed,
    judged,
    percent,
    percent_with,
)
from cam_engine.results import FloatMap, RgbImage

MEASURES = ("AP", "peak", "IoU at 0.5", "IoU at Otsu", "energy")
PEAK = 0.8
_MOST_BOX = 0.5  # of a crop: a box that fills it has no "elsewhere"
_CONTEXT = 2.2  # a field's crop, by its box's side
_JITTER = 0.35  # how far off the middle, by the room that is left
_GAUSSIAN, _UNIFORM = "control: centred Gaussian", "control: uniform"
_ID = "localisation.parasite"

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Located:
    """An image in which a parasite's box is known, and lies off-centre or is small."""

    image: RgbImage
    box: Box
    label: int
    cluster: str

    @property
    def mask(self) -> Mask:
        """(H, W) bool, true in the box."""
        made = np.zeros(self.image.shape[:2], bool)
        x0, y0, x1, y1 = self.box
        made[y0:y1, x0:x1] = True
        return made


def measure_localisation(
    study: Study, beside: Sequence[Crop] = (), fields: Path | None = None
) -> Section:
    """AP, peak, IoU and energy of each kind of map, over right and over wrong answers apart.

    beside: wider crops that were given with their boxes. fields: the field images that crops were
    cut from, whose boxes the metadata has.
    """
    located, how = _located(study, beside, fields)
    if not located:
        return Section("localisation", "Localisation", (), (Criterion(_ID, "cannot_tell", how),))
    pixels = [study.network_image(one.image) for one in located]
    answers = np.array(study.explainer.probabilities(pixels))
    right = answers.argmax(1) == [one.label for one in located]
    rows: dict[str, list[tuple[float, ...]]] = {}
    for name, maps in study.of_kinds(pixels).items():
        rows[name] = [
            _scores(full_size_map(layer, one.image.shape[:2]), one.mask)
            for one, layer in zip(located, maps, strict=True)
        ]
    for name, control in ((_UNIFORM, uniform_map), (_GAUSSIAN, centred_gaussian)):
        rows[name] = [_scores(control(one.image.shape[:2]), one.mask) for one in located]
    scores = {name: np.array(values) for name, values in rows.items()}
    clusters = np.array([one.cluster for one in located])
    share = float(np.mean([one.mask.mean() for one in located]))
    said = (
        f"{how} Boxes cover {percent(share)} of an image, which is a uniform map's AP. Of "
        f"{counted(len(located), 'image')} the model names {int(right.sum())} correctly; wrong "
        "answers stand apart, since their maps explain another class."
    )
    return Section(
        "localisation",
        "Localisation",
        (
            said,
            (
                "Localisation alone proves little: Eigen-CAM, which does not know the class, "
                "finds the parasite too. A map must also pass the next sections."
            ),
        ),
        tuple(
            if_informed(one, informed=study.informed)
            for one in _criteria(scores, right, clusters, study.seed)
        ),
        (
            make_table(
                "localisation.scores",
                "Maps against boxes",
                "map, answers, images:count, "
                + ", ".join(f"{m}:number, {m} low:number, {m} high:number" for m in MEASURES),
                _rows(scores, right, clusters, study.seed),
                "Equal pixels have no order: AP and peak are expectations over all orders.",
            ),
        ),
    )


def _located(
    study: Study, beside: Sequence[Crop], fields: Path | None
) -> tuple[list[Located], str]:
    """The images to measure on and how they came about; none, and why."""
    names, most = study.class_names, study.effort.located_crops
    if beside:
        chosen = _some(list(beside), most, study.seed)
        made = [
            Located(read_image(crop.file), crop.box, index, crop.cluster)
            for crop in chosen
            if crop.box is not None and (index := class_index(crop.label, names)) is not None
        ]
        return _usable(made, "Images that were given with their boxes.")
    if fields is not None:
        made = list(_from_fields(study, fields))
        if made:
            return made, (
                f"Crops of {_CONTEXT} times the box, cut off-centre from the field images, since "
                "the experiment's own crops are cut around the parasite."
            )
        return [], f"No field image of these crops is in {fields}."
    with_box = [at for at, crop in enumerate(study.crops) if crop.box is not None]
    if not with_box:
        return [], (
            "Where the parasite lies in a crop is not known: give boxes (--boxes), or the field "
            "images that crops were cut from (--fields)."
        )
    made = []
    for at in _some(with_box, most, study.seed):
        box = study.crops[at].box
        (image,) = study.images([at])
        if box is not None:
            made.append(Located(image, box, int(study.labels[at]), study.clusters[at]))
    return _usable(made, "The experiment's crops, with the boxes of its metadata.")


def _usable(made: Sequence[Located], how: str) -> tuple[list[Located], str]:
    """Those whose box has pixels in the image; none of images that boxes fill."""
    there = [one for one in made if one.mask.any()]
    if not there:
        return [], f"{how} No box lies in an image of a class of the model."
    share = float(np.mean([one.mask.mean() for one in there]))
    if share > _MOST_BOX:
        return [], (
            f"Crops are cut around the parasite: its box fills {percent(share)} of them, so there "
            "is hardly an elsewhere. Give wider crops (--boxes) or the field images (--fields)."
        )
    return there, how


def _from_fields(study: Study, folder: Path) -> Iterator[Located]:
    """Wider crops around boxes, off-centre by the seed."""
    files = {
        path.stem.lower(): path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in IMAGE_SUFFIXES
    }
    known = [
        at
        for at, crop in enumerate(study.crops)
        if crop.field is not None and crop.field_box is not None and crop.field.lower() in files
    ]
    rng = np.random.default_rng(study.seed)
    opened: tuple[str, RgbImage] | None = None
    for at in sorted(
        _some(known, study.effort.located_crops, study.seed),
        key=lambda at: study.crops[at].field or "",
    ):
        crop = study.crops[at]
        if crop.field is None or crop.field_box is None:
            continue
        if opened is None or opened[0] != crop.field:
            opened = (crop.field, read_image(files[crop.field.lower()]))
        if (cut := wider(opened[1], crop.field_box, rng)) is not None:
            yield Located(*cut, int(study.labels[at]), study.clusters[at])


def wider(field: RgbImage, box: Box, rng: np.random.Generator) -> tuple[RgbImage, Box] | None:
    """A square of 2.2 times the box's longer side, and the box in it; None for an empty box.

    Off-centre by up to a third of the room around the box; it never leaves the field.
    """
    height, width = field.shape[:2]
    x0, y0, x1, y1 = (max(0, side) for side in box)
    x1, y1 = min(x1, width), min(y1, height)
    if x1 - x0 < 2 or y1 - y0 < 2:
        return None
    side = min(round(_CONTEXT * max(x1 - x0, y1 - y0)), height, width)
    left, top = (
        _start(low, high, side, size, rng)
        for low, high, size in ((x0, x1, width), (y0, y1, height))
    )
    cut = field[top : top + side, left : left + side]
    # A box longer than the field is high or wide does not fit into a square of it.
    inside = (max(x0 - left, 0), max(y0 - top, 0), min(x1 - left, side), min(y1 - top, side))
    return np.ascontiguousarray(cut), inside


def _start(low: int, high: int, side: int, size: int, rng: np.random.Generator) -> int:
    room = max(side - (high - low), 0)
    off = rng.uniform(-_JITTER, _JITTER) * room
    start = round((low + high - side) / 2 + off)
    return int(np.clip(start, 0, size - side))


def _scores(values: FloatMap, mask: Mask) -> tuple[float, ...]:
    otsu = threshold_otsu(values) if np.ptp(values) > 0 else 0.5
    return (
        average_precision(values, mask),
        peak_share(values, mask),
        intersection_over_union(values >= 0.5, mask),
        intersection_over_union(values > otsu, mask),
        energy(values, mask),
    )


def _criteria(
    scores: dict[str, Values], right: NDArray[np.bool_], clusters: NDArray[np.str_], seed: int
) -> Iterator[Criterion]:
    if not right.any():
        yield Criterion(_ID, "cannot_tell", "The model names none of these images correctly.")
        return
    bootstrap = ClusterBootstrap(clusters[right].tolist(), seed=seed)
    own, control = scores["fused"][right], scores[_GAUSSIAN][right]
    lead = bootstrap.mean(own[:, 0] - control[:, 0])
    yield judged(
        _ID,
        above(lead, 0.0),
        f"The fused map's AP is {own[:, 0].mean():.2f}, a spot in the middle has "
        f"{control[:, 0].mean():.2f}: a lead of {figure_with(lead)}.",
        lead,
        n=bootstrap.clusters,
        threshold=0.0,
    )
    peak = bootstrap.mean(own[:, 1])
    yield judged(
        "localisation.peak",
        above(peak, PEAK),
        f"The highest point of the fused map lies in the box for {percent_with(peak)} of the right "
        f"answers; asked is {percent(PEAK)}.",
        peak,
        n=bootstrap.clusters,
        threshold=PEAK,
    )


def _rows(
    scores: dict[str, Values], right: NDArray[np.bool_], clusters: NDArray[np.str_], seed: int
) -> Iterator[tuple[Cell, ...]]:
    for answers, among in (("right", right), ("wrong", ~right)):
        if not among.any():
            continue
        bootstrap = ClusterBootstrap(clusters[among].tolist(), seed=seed)
        for name, values in scores.items():
            cells: list[Cell] = [name, answers, int(among.sum())]
            for column in values[among].T:
                found = bootstrap.mean(column)
                cells += [found.value, found.low, found.high]
            yield tuple(cells)


def _some(items: list, most: int, seed: int) -> list:  # type: ignore[type-arg]  # of any kind
    drawn = np.sort(np.random.default_rng(seed).permutation(len(items))[:most])
    return [items[at] for at in drawn]

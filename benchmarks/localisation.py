"""Do the maps find the parasite? Every method and layer against labelled boxes and controls.

python -m benchmarks.localisation --data CROPS --models RUN/cls_*/best.pt --output docs/trust.md

CROPS holds boxes.json: {"folder/<class>/<slide>_<n>.jpg": [x0, y0, x1, y1]}, in pixels of it; or
crops/<split>/<class>/<name>.jpg and the same below masks/ as .png, white where the parasite is.
docs/trust.md says what is measured, and why so.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from benchmarks.documents import replace_block
from benchmarks.localisation_metrics import (
    Map,
    Scores,
    box_mask,
    columns,
    score,
)
from benchmarks.localisation_report import (
    CLASSICAL,
    GAUSSIAN,
    SQUARED,
    UNIFORM,
    Measured,
    Row,
    as_json,
    markdown,
    side_by_side,
    summary,
    table,
)
from cam_engine.errors import CamError
from cam_engine.evidence.controls import centred_gaussian, uniform_map
from cam_engine.evidence.localisation import Mask
from cam_engine.evidence.resampling import ClusterBootstrap
from cam_engine.images.preparing import read_image
from cam_engine.maps.explainer import Explainer, NetworkInput
from cam_engine.method_facts import METHOD_FACTS
from cam_engine.models.loading import Classifier, load_classifier
from cam_engine.options import STAGES, CamOptions, Taps
from cam_engine.pictures.rendering import full_size_map
from cam_engine.results import Explanation, LayerMap, RgbImage


@dataclass(frozen=True, slots=True)
class LabelledCrop:
    """A crop, its class, its box or outline as a mask (H, W), and the slide that it is of."""

    image: RgbImage
    label: str
    mask: Mask
    slide: str

    @property
    def size(self) -> tuple[int, int]:
        return self.image.shape[0], self.image.shape[1]


def read_crops(folder: Path) -> list[LabelledCrop]:
    """The crops of a folder, with boxes or with masks, by path."""
    return _with_boxes(folder) if (folder / "boxes.json").exists() else _with_masks(folder)


def _with_boxes(folder: Path) -> list[LabelledCrop]:
    """The crops that boxes.json lists. A slide is a file's name up to the last "_"."""
    boxes = json.loads((folder / "boxes.json").read_text(encoding="utf-8"))
    crops = []
    for name, box in sorted(boxes.items()):
        path = folder / name
        image = read_image(path)
        mask = box_mask(box, (image.shape[0], image.shape[1]))
        crops.append(LabelledCrop(image, path.parent.name, mask, path.stem.rpartition("_")[0]))
    return crops


def _with_masks(folder: Path) -> list[LabelledCrop]:
    """The crops that have a mask; each is a slide of its own, since each is drawn by itself."""
    crops = []
    for path in sorted((folder / "masks").glob("*/*/*.png")):
        place = path.relative_to(folder / "masks").with_suffix("")
        image = read_image(folder / "crops" / place.with_suffix(".jpg"))
        mask = np.asarray(read_image(path)[..., 0] > 0, np.bool_)
        crops.append(LabelledCrop(image, path.parent.name, mask, place.as_posix()))
    if not crops:
        raise ValueError(f"{folder} holds neither boxes.json nor masks/<split>/<class>/*.png")
    return crops


def measure(
    classifier: Classifier, crops: Sequence[LabelledCrop], wanted: Sequence[Taps], args: Arguments
) -> Measured:
    """Scores of every row over the crops that the model gets right in each of its inputs.

    Rows are comparable only over the same crops, and a map of a wrong answer has no box to find.
    So a crop counts where the model is right with CLAHE, without it, and without it in float32.
    """
    explainer = Explainer(classifier, device=args.device)
    reference = Explainer(classifier, device=args.device, precision="float32")
    prepared = [explainer.prepare_image(crop.image, CamOptions()).network_input for crop in crops]
    right = _right(explainer, reference, crops, prepared)
    if not right:
        raise SystemExit(f"{args.name(classifier)} gets none of the {len(crops)} crops right")
    kept, inputs = [crops[i] for i in right], [prepared[i] for i in right]
    scores: dict[Row, list[Scores]] = {}

    def add(row: Row, crop: LabelledCrop, values: Map) -> None:
        scores.setdefault(row, []).append(score(values, crop.mask))

    for taps in wanted:
        for row, crop, values in _delivered(explainer, kept, inputs, taps):
            add(row, crop, values)
            if row == Row("gradcam++", "late"):
                add(SQUARED, crop, values * values)
    for crop, values in zip(kept, _classical(reference, kept), strict=True):
        add(CLASSICAL, crop, values)
        add(UNIFORM, crop, uniform_map(crop.size))
        add(GAUSSIAN, crop, centred_gaussian(crop.size))
    return Measured(
        name=args.name(classifier),
        sha256=classifier.sha256,
        precision=explainer.precision.describe(),
        crops_given=len(crops),
        crops_right=len(kept),
        box_share=float(np.mean([crop.mask.mean() for crop in kept])),
        bootstrap=ClusterBootstrap([crop.slide for crop in kept], args.resamples, args.seed),
        rows={row: columns(values) for row, values in scores.items()},
    )


def _right(
    explainer: Explainer,
    reference: Explainer,
    crops: Sequence[LabelledCrop],
    prepared: Sequence[NetworkInput],
) -> list[int]:
    """Indices of the crops whose class is named in every pass that is compared."""
    plain = [image.plain for image in prepared if image.plain is not None]
    passes = [
        explainer.probabilities([image.pixels for image in prepared]),
        explainer.probabilities(plain),
        reference.probabilities(plain),
    ]
    names = explainer.classifier.class_names
    return [
        index
        for index, crop in enumerate(crops)
        if all(names[int(one[index].argmax())] == crop.label for one in passes)
    ]


def _delivered(
    explainer: Explainer,
    crops: Sequence[LabelledCrop],
    prepared: Sequence[NetworkInput],
    taps: Taps,
) -> Iterator[tuple[Row, LabelledCrop, Map]]:
    """The maps as a user gets them: CLAHE, the rule's precision, smoothed to the image's size."""
    # The class without CLAHE is known by now: no second forward pass for it.
    inputs = [replace(image, plain=None) for image in prepared]
    targets = [crop.label for crop in crops]
    has_tokens = all(stage.tap.tokens is not None for stage in explainer.classifier.layout.stages)
    for method, facts in METHOD_FACTS.items():
        if facts.needs_attention and not has_tokens:
            continue
        options = CamOptions(method=method, fused=method == "layercam", taps=taps)
        explained = explainer.explain_inputs(inputs, options, targets)
        for crop, explanation in zip(crops, explained, strict=True):
            for layer in explanation.layers:
                shown = "fused" if layer.name == "fused" else method
                row = Row(shown, layer.name if layer.name in STAGES else "", taps)
                yield row, crop, full_size_map(layer, crop.size)


def _classical(reference: Explainer, crops: Sequence[LabelledCrop]) -> Iterator[Map]:
    """Grad-CAM as most scripts make it: last block's raw output, bilinear, float32, no CLAHE."""
    options = CamOptions(method="gradcam", layers=("late",), taps="raw", clahe=False)
    explained = reference.explain(
        [crop.image for crop in crops], options, [crop.label for crop in crops]
    )
    for crop, explanation in zip(crops, explained, strict=True):
        yield _bilinear(_only_layer(explanation), crop.size)


def _only_layer(explanation: Explanation) -> LayerMap:
    (layer,) = explanation.layers
    return layer


def _bilinear(layer: LayerMap, size: tuple[int, int]) -> Map:
    height, width = size
    resized = cv2.resize(layer.values, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, np.float32)


FORMS = {"localisation": markdown, "families": side_by_side}


@dataclass(frozen=True, slots=True)
class Arguments:
    """The command line."""

    data: Path
    models: tuple[Path, ...]
    taps: tuple[Taps, ...]
    output: Path | None
    block: str
    json: Path | None
    device: str
    seed: int
    resamples: int

    def name(self, classifier: Classifier) -> str:
        """What the model is called: its folder's name, as in cls_<architecture>_<loss>."""
        path = classifier.path
        return classifier.architecture if path is None else path.absolute().parent.name


def parse(words: Sequence[str] | None = None) -> Arguments:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds boxes.json")
    parser.add_argument("--models", type=Path, nargs="+", required=True, help="checkpoints")
    parser.add_argument(
        "--taps",
        nargs="+",
        choices=("rectified", "raw"),
        default=["rectified"],
        help="where layers are tapped; name both to compare them (twice the time)",
    )
    parser.add_argument("--output", type=Path, help="page whose generated block is rewritten")
    parser.add_argument(
        "--block",
        choices=tuple(FORMS),
        default="localisation",
        help="which block: intervals of each model, or models side by side (default: %(default)s)",
    )
    parser.add_argument("--json", type=Path, help="file for all numbers")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--seed", type=int, default=0, help="of resamples")
    parser.add_argument("--resamples", type=int, default=2000, help="of the bootstrap")
    found = parser.parse_args(words)
    taps = tuple(dict.fromkeys(found.taps))
    return Arguments(**{**vars(found), "models": tuple(found.models), "taps": taps})


def main() -> None:
    args = parse()
    try:
        crops = read_crops(args.data)
        results = []
        for path in args.models:
            result = measure(load_classifier(path), crops, args.taps, args)
            results.append(result)
            print(f"\n{table(result)}", flush=True)
    except (CamError, OSError, ValueError) as error:
        raise SystemExit(str(error)) from error
    print(f"\n{summary(results)}")
    if args.json is not None:
        args.json.write_text(json.dumps(as_json(results), indent=1) + "\n", encoding="utf-8")
    if args.output is not None:
        block = FORMS[args.block](results, args.seed, args.resamples)
        replace_block(args.output, args.block, block.splitlines())


if __name__ == "__main__":
    main()

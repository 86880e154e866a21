"""What a figure says, the same in the panel and on paper."""

from __future__ import annotations

from dataclasses import dataclass
from unicodedata import bidirectional

from cam_engine.method_facts import label_of
from cam_engine.pictures.lettering import face, one_line
from cam_engine.results import ClassScore, Explanation, LayerMap

SCALE = "share of the layer's maximum"
NO_EVIDENCE = ("no positive evidence", "for this class in this layer")
CLAHE_OFF = ("CLAHE off", "the network saw the original")
_FUSED = "fused"
_HEADER_NAMES_LENGTH = 36
_RIGHT_TO_LEFT = {"R", "AL"}
_LEFT_TO_RIGHT = "\u200e"


@dataclass(frozen=True, slots=True)
class FigureFacts:
    """What a figure says beside the explanation.

    title: the image's name without its suffix. true_class: None where it is not known.
    assumed: what was assumed of the image or the model, as sentences.
    """

    title: str
    model_name: str
    true_class: str | None = None
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the prediction is right, in words and by a mark, not only by a colour.

    true_class follows the text where the prediction is wrong; else it is empty.
    """

    correct: bool
    text: str
    true_class: str = ""


def probability_text(probability: float) -> str:
    """0..1 with two decimals, but never rounded to a certainty: ">0.99", "<0.01"."""
    text = f"{probability:.2f}"
    if text == "1.00" and probability < 1.0:
        return ">0.99"
    if text == "0.00" and probability > 0.0:
        return "<0.01"
    return text


def verdict(explanation: Explanation, facts: FigureFacts) -> Verdict | None:
    """None where the true class is not known."""
    if facts.true_class is None:
        return None
    if explanation.predicted.name == facts.true_class:
        return Verdict(True, "\u2714 correct")
    return Verdict(False, "\u2718 wrong, true class: ", facts.true_class)


def notices(explanation: Explanation, facts: FigureFacts) -> tuple[str, ...]:
    """List what a reader must not miss and the header has no room for.

    Another class explained than predicted; CLAHE changed the prediction; what was assumed of the
    pixels; names in full where they are too long for the header.
    """
    said: list[str] = []
    if explanation.target.index != explanation.predicted.index:
        said.append(f"The maps explain {_scored(explanation.target)}, not the predicted class")
    if explanation.unenhanced is not None and explanation.clahe_changed_class:
        said.append(
            f"CLAHE changed the predicted class; without CLAHE: {_scored(explanation.unenhanced)}"
        )
    said += facts.assumed
    predicted, true_class = explanation.predicted.name, facts.true_class or ""
    wrong = true_class not in {"", predicted}
    if _shown_length(predicted) + wrong * _shown_length(true_class) > _HEADER_NAMES_LENGTH:
        said.append(f"Predicted: {predicted}" + (f"; true class: {true_class}" if wrong else ""))
    return tuple(said)


def column_heading(layer: LayerMap) -> tuple[str, str, str]:
    """(name, label, grid) of a layer's column: "early", "denseblock2", "28x28" (width x height).

    The label is empty where it only repeats the name. The fused map's is how it was made, whatever
    the other columns are made with.
    """
    height, width = layer.grid
    label = label_of(layer.method) if layer.name == _FUSED else layer.label
    return layer.name, "" if label == layer.name else label, f"{width}\u00d7{height}"


def source_line(explanation: Explanation, facts: FigureFacts) -> str:
    """How, by which model and of which image the maps are."""
    method = label_of(explanation.layers[0].method)
    return f"{method}  \u00b7  {facts.model_name}  \u00b7  {facts.title}"


def _shown_length(name: str) -> int:
    """Characters drawn for a name, more than its own where no font can write it."""
    return len(face(one_line(name), bold=True)[1])


def _scored(score: ClassScore) -> str:
    """Name and probability, in this order also where the name is written from right to left."""
    mark = _LEFT_TO_RIGHT if any(bidirectional(c) in _RIGHT_TO_LEFT for c in score.name) else ""
    return f"{score.name}{mark} {probability_text(score.probability)}"

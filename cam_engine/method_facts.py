"""The CAM methods, one row each: all that is known of a method but its formula.

The formulas are in `cam_engine.maps.methods`, under the same names; this table needs no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

Method = Literal["gradcam++", "gradcam", "hirescam", "layercam", "xgradcam", "eigencam", "legrad"]

Fusion = Literal["class-aware", "layercam"]
FusionChoice = Literal["auto", "class-aware", "layercam"]
Score = Literal["logit", "margin"]

DEFAULT_METHOD: Final = "gradcam++"


@dataclass(frozen=True, slots=True)
class MethodFacts:
    """What is known of a method.

    label: its name on pictures. sentence: for people, without a capital and a full stop.
    source: the paper that it comes from.
    needs_rectified: derived for A >= 0: its weights lose their meaning where A is negative.
    needs_gradients: False where activations alone make the map, the same for every class.
    needs_attention: made of a vision transformer's attention, all of it up to the layer.
    """

    label: str
    sentence: str
    source: str
    needs_rectified: bool = False
    needs_gradients: bool = True
    needs_attention: bool = False


METHOD_FACTS: Mapping[Method, MethodFacts] = MappingProxyType(
    {
        "gradcam++": MethodFacts(
            "Grad-CAM++",
            "as Grad-CAM, but each channel's weight comes from the cells that speak for the class",
            "Chattopadhay et al. 2018",
            needs_rectified=True,
        ),
        "gradcam": MethodFacts(
            "Grad-CAM",
            "channels weighted by their mean gradient over the whole layer",
            "Selvaraju et al. 2017",
        ),
        "hirescam": MethodFacts(
            "HiResCAM",
            "activation times gradient, cell by cell, summed over channels",
            "Draelos and Carin 2020",
        ),
        "layercam": MethodFacts(
            "LayerCAM",
            "as HiResCAM, but with positive gradients only; sharp in early layers too",
            "Jiang et al. 2021",
            needs_rectified=True,
        ),
        "xgradcam": MethodFacts(
            "XGrad-CAM",
            "as Grad-CAM, but the mean is weighted by the activations",
            "Fu et al. 2020",
        ),
        "eigencam": MethodFacts(
            "Eigen-CAM",
            "the strongest pattern of the activations; does not depend on the class",
            "Muhammad and Yeasin 2020",
            needs_gradients=False,
        ),
        "legrad": MethodFacts(
            "LeGrad",
            "for vision transformers alone: the attention, up to a block, that the class rests on",
            "Bousselham et al. 2024",
            needs_attention=True,
        ),
    }
)


@dataclass(frozen=True, slots=True)
class FusionFacts:
    """What is known of a way to make the fused map, a geometric mean of early, mid and late maps.

    label, sentence: as in `MethodFacts`. methods: of the early, the mid and the late map, whatever
    the other maps are made with.
    """

    label: str
    sentence: str
    methods: tuple[Method, Method, Method]


FUSION_FACTS: Mapping[Fusion, FusionFacts] = MappingProxyType(
    {
        "class-aware": FusionFacts(
            "class-aware",
            "where early and mid LayerCAM, which are sharp, and late Grad-CAM, which knows the "
            "class, agree",
            ("layercam", "layercam", "gradcam"),
        ),
        "layercam": FusionFacts(
            "LayerCAM",
            "LayerCAM of all three: finds objects best, and knows the class least",
            ("layercam", "layercam", "layercam"),
        ),
    }
)

# What the gradients are of, in words.
SCORES: Mapping[Score, str] = MappingProxyType(
    {
        "logit": "what speaks for the class",
        "margin": "what speaks for the class rather than for those that come next",
    }
)


def fusion_for(choice: FusionChoice, *, averaged: bool) -> Fusion:
    """How the fused map is made. averaged: the network takes the mean over the late layer's cells.

    Grad-CAM's weights are those of such a head. After a class token, or where attention comes after
    the late layer, its map would take from the fused one what the others found (docs/trust.md).
    """
    if choice == "auto":
        return "class-aware" if averaged else "layercam"
    return choice


def fusions_in_words() -> str:
    """All ways to make the fused map with their sentences, as one text."""
    said = [f"{name}: {facts.sentence}" for name, facts in FUSION_FACTS.items()]
    return "; ".join(
        [
            "auto: class-aware where the network averages the late layer's cells, else layercam",
            *said,
        ]
    )


def scores_in_words() -> str:
    """All scores with their sentences, as one text."""
    return "; ".join(f"{name}: {sentence}" for name, sentence in SCORES.items())


def label_of(formula: str) -> str:
    """The name shown of a method, or of a way to make the fused map."""
    rows: list[tuple[str, MethodFacts | FusionFacts]] = [
        *METHOD_FACTS.items(),
        *FUSION_FACTS.items(),
    ]
    return {name: facts.label for name, facts in rows}[formula]


def methods_in_words() -> str:
    """All methods with their sentences, as one text: "gradcam++: ...; gradcam: ..."."""
    return "; ".join(f"{name}: {facts.sentence}" for name, facts in METHOD_FACTS.items())

"""The CAM methods, one row each: all that is known of a method but its formula.

The formulas are in `cam_engine.maps.methods`, under the same names; this table needs no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

Method = Literal["gradcam++", "gradcam", "hirescam", "layercam", "xgradcam", "eigencam"]

DEFAULT_METHOD: Final = "gradcam++"
FUSED_METHOD: Final = "layercam"  # of the fused map, whatever the other maps are made with


@dataclass(frozen=True, slots=True)
class MethodFacts:
    """What is known of a method.

    label: its name on pictures. sentence: for people, without a capital and a full stop.
    source: the paper that it comes from.
    needs_rectified: derived for A >= 0: its weights lose their meaning where A is negative.
    needs_gradients: False where activations alone make the map, the same for every class.
    """

    label: str
    sentence: str
    source: str
    needs_rectified: bool = False
    needs_gradients: bool = True


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
    }
)


def methods_in_words() -> str:
    """All methods with their sentences, as one text: "gradcam++: ...; gradcam: ..."."""
    return "; ".join(f"{name}: {facts.sentence}" for name, facts in METHOD_FACTS.items())

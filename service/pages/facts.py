"""What the scripts of the pages take from Python, as an ES module.

Methods, layers, colour maps and defaults stand once, in `cam_engine` and in the schema of requests.
The scripts have them from here.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import get_args

from cam_engine.method_facts import (
    DEFAULT_METHOD,
    FUSION_FACTS,
    METHOD_FACTS,
    MethodFacts,
)
from cam_engine.options import STAGES, Colormap
from cam_engine.pictures.rendering import SMOOTHING, colour_table
from service.explanations.requests import FUSED, ExplanationOptions

_ABOUT = "/** What the service knows of methods, layers, colours and defaults; written by it. */"


def facts_script(
    methods: Iterable[tuple[str, MethodFacts]] = tuple(METHOD_FACTS.items()),
) -> str:
    """The module's text.

    METHODS: [{name, label, sentence}]. COLOURS: of each colour map, base64 of (256, 3) bytes RGB.
    DEFAULTS: of the fields that a view sets. SMOOTHING: as the class of that name. All that menus
    offer is in their order.
    """
    fields = ExplanationOptions.model_fields
    constants = {
        "METHODS": [
            {"name": name, "label": facts.label, "sentence": facts.sentence}
            for name, facts in methods
        ],
        "DEFAULT_METHOD": DEFAULT_METHOD,
        "FUSIONS": [
            {"name": name, "label": facts.label, "sentence": facts.sentence}
            for name, facts in FUSION_FACTS.items()
        ],
        "STAGES": STAGES,
        "FUSED": FUSED,
        "DEFAULTS": {name: fields[name].default for name in ("alpha", "colormap")},
        "SMOOTHING": asdict(SMOOTHING),
        "COLOURS": {name: _as_base64(name) for name in get_args(Colormap)},
    }
    lines = [f"export const {name} = {json.dumps(value)};" for name, value in constants.items()]
    return "\n".join([_ABOUT, "", *lines, ""])


def _as_base64(name: Colormap) -> str:
    return base64.b64encode(colour_table(name).tobytes()).decode()

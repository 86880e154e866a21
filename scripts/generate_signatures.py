"""What torchvision's classifiers consist of, for `cam_engine.models.libraries.signatures`.

python -m scripts.generate_signatures

Each network is built once, without memory for its weights where its code allows that: minutes.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

from cam_engine.models.libraries.signatures import FILE, body_digest
from cam_engine.models.networks import config_of, skeleton_of, torchvision_models

PATH = Path(__file__).parents[1] / "cam_engine" / "models" / "libraries" / FILE


def signature(name: str) -> tuple[str, str]:
    """(region of the head, digest of the body) of one of torchvision's networks."""
    region = config_of(name, "torchvision").head.split(".", 1)[0]
    network = skeleton_of(name, "torchvision", 2)
    return region, body_digest(network.state_dict(), region)


def main() -> None:
    """Write them all."""
    known: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name in torchvision_models():
        region, digest = signature(name)
        known[region][digest].append(name)
    PATH.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

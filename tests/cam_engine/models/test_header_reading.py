"""What a checkpoint says of itself; beside networks that are loaded, in the tests of these."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from cam_engine.models.header_reading import header_of


def test_every_name_that_timm_has_deprecated_says_what_it_is_by_now() -> None:
    deprecated = importlib.import_module("timm.models._registry")._deprecated_models
    assert len(deprecated) > 200
    for name in deprecated:
        header = header_of(Path(f"cls_{name}/best.pt"), {})
        assert header.architecture not in {None, name}, name
        assert header.input_size is not None, name


@pytest.mark.parametrize(
    ("folder", "said", "architecture", "size"),
    [
        ("cls_resnet18_focal", {}, "resnet18", (224, 224)),
        ("cls_resnet18_focal", {"arch": "densenet121"}, "densenet121", (224, 224)),
        ("cls_resnet18_focal", {"img_size": 96}, "resnet18", (96, 96)),
        ("cls_deit3_small_patch16_384_ce", {}, "deit3_small_patch16_384", (384, 384)),
        ("cls_parasite_net_ce", {"arch": "parasite_net"}, "parasite_net", None),
        ("cls_parasite_net_ce", {}, None, None),
    ],
)
def test_the_file_is_believed_before_its_folder_and_both_before_a_library(
    folder: str, said: dict[str, object], architecture: str | None, size: tuple[int, int] | None
) -> None:
    header = header_of(Path(folder, "best.pt"), said)
    assert (header.architecture, header.input_size) == (architecture, size)

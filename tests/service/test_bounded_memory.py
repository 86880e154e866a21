"""What the service remembers is bounded, and what was asked for last is what stays."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cam_engine.experiments.data_root import DataRoot
from cam_engine.images.png import encode_png
from service.explanations import view_tokens
from service.explanations.view_tokens import ViewScope, ViewTokens
from service.http.problems import ServiceError
from service.models import catalog, image_digests
from service.models.catalog import Catalog
from service.models.image_digests import ImageDigests

SCOPE = ViewScope("01234567", "run/experiments/experiment_a")


def in_disguise(path: Path, content: bytes) -> None:
    """Other bytes that leave the file's size, time and inode as they were."""
    before = path.stat()
    assert len(content) == before.st_size
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_the_digests_asked_for_last_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_digests, "_MOST_KEPT", 2)
    digests = ImageDigests()
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    for path in (one, two, three):
        path.write_bytes(b"old")
    first = [digests.of(path) for path in (one, two, one, three)]  # the third pushes out two
    for path in (one, two, three):
        in_disguise(path, b"new")
    assert digests.of(one) == first[0]
    assert digests.of(three) == first[3]
    assert digests.of(two) != first[1]


def test_the_answers_shown_last_may_be_had_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_tokens, "_MOST_SHOWN", 2)
    tokens = ViewTokens(None)
    for digest in ("a", "b", "a", "c"):
        tokens.remember(SCOPE, digest)
    for digest in ("a", "c"):
        tokens.check_shown(SCOPE, digest)
    with pytest.raises(ServiceError, match="no explanation"):
        tokens.check_shown(SCOPE, "b")


def experiment(root: Path, name: str) -> str:
    """An experiment of one test image; its id."""
    folder = root / "run" / "experiments" / f"experiment_{name}"
    images = folder / "crops_gt_crops" / "crops" / "test" / "ring"
    images.mkdir(parents=True)
    (images / "x.png").write_bytes(encode_png(np.zeros((8, 8, 3), np.uint8)))
    (folder / "cls_a").mkdir()
    return folder.relative_to(root).as_posix()


@pytest.fixture
def looked_for(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of experiments whose images are really looked for."""
    looked: list[str] = []
    look: Callable[..., object] = DataRoot.look_for_images

    def counting(self: DataRoot, wanted: object, split: str) -> object:
        looked.append(wanted.folder.name.removeprefix("experiment_"))  # type: ignore[attr-defined]
        return look(self, wanted, split)

    monkeypatch.setattr(DataRoot, "look_for_images", counting)
    return looked


def test_the_lists_of_images_asked_for_last_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looked_for: list[str]
) -> None:
    monkeypatch.setattr(catalog, "_MOST_LISTS", 2)
    ids = {name: experiment(tmp_path, name) for name in "abc"}
    root = Catalog(tmp_path, refresh_seconds=3600.0)
    for name in "abacab":
        entry = root.experiment(ids[name])
        assert [item.name for item in root.images(entry, "test")] == ["x"]
    assert "".join(looked_for) == "abcb"

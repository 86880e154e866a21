"""Files that belong to a checkpoint, also where it is a link: beside the link, then its target."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from cam_engine.models.files.companions import companions, digest_with
from cam_engine.models.header_reading import read_header
from cam_engine.models.loading import load_classifier
from tests.cam_engine.models.kinds import CLASSES, plain, state

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = {"architecture": "resnet18", "label_names": list(CLASSES)}


def in_the_cache(root: Path, files: dict[str, bytes]) -> Path:
    """A folder as Hugging Face keeps it: snapshots are links to files named by their digests."""
    blobs, snapshot = root / "blobs", root / "snapshots/0123abc"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for name, content in files.items():
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        (snapshot / name).symlink_to(f"../../blobs/{digest}")
    return snapshot


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    weights = safetensors.torch.save(plain().state_dict())
    files = {"model.safetensors": weights, "config.json": json.dumps(CONFIG).encode()}
    return in_the_cache(tmp_path / "hub/models--lab--cells", files)


@pytest.mark.parametrize("linked", [None, "model.safetensors", "best.pt"])
def test_hugging_faces_cache_is_read_through_its_links(
    snapshot: Path, tmp_path: Path, linked: str | None
) -> None:
    path = snapshot / "model.safetensors"
    if linked is not None:
        path = tmp_path / "cls_x" / linked
        path.parent.mkdir()
        path.symlink_to(snapshot / "model.safetensors")
    classifier = load_classifier(path)
    assert (classifier.architecture, classifier.class_names) == ("resnet18", CLASSES)
    header = read_header(path)
    assert (header.architecture, header.class_names) == ("resnet18", CLASSES)


def test_what_lies_beside_the_link_comes_before_what_lies_beside_its_target(
    tmp_path: Path,
) -> None:
    pool, folder = tmp_path / "pool", tmp_path / "cls_x"
    pool.mkdir()
    folder.mkdir()
    torch.save(state(plain(), model_name="resnet18"), pool / "run7.pt")
    link = folder / "best.pt"
    link.symlink_to(pool / "run7.pt")
    (pool / "run7.json").write_text(json.dumps({"class_names": ["a", "b", "c"]}))
    classifier = load_classifier(link)
    assert classifier.class_names == ("a", "b", "c")
    assert any(notice.startswith("run7.json overrules") for notice in classifier.notices)
    assert classifier.sources["class_names"] == "run7.json"
    (folder / "best.json").write_text(json.dumps({"class_names": list(CLASSES)}))
    classifier = load_classifier(link)
    assert classifier.class_names == CLASSES
    assert classifier.sources["class_names"] == "best.json"
    assert load_classifier(pool / "run7.pt").class_names == ("a", "b", "c")


def test_companions_that_are_links_lead_only_to_where_the_checkpoint_does(
    snapshot: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "cls_x"
    folder.mkdir()
    (folder / "model.safetensors").symlink_to(snapshot / "model.safetensors")
    (folder / "config.json").symlink_to(snapshot / "config.json")
    secret = tmp_path / "secret.json"
    secret.write_text(json.dumps({"class_names": ["x", "y", "z"]}))
    (folder / "model.json").symlink_to(secret)
    assert [path.name for path in companions(folder / "model.safetensors")] == ["config.json"]
    assert load_classifier(folder / "model.safetensors").class_names == CLASSES


def test_a_companion_beside_the_target_is_part_of_the_digest(snapshot: Path) -> None:
    path = snapshot / "model.safetensors"
    before = digest_with("0" * 64, path)
    (snapshot / "config.json").unlink()
    assert digest_with("0" * 64, path) == "0" * 64 != before


def test_a_loop_of_links_has_no_companions(tmp_path: Path) -> None:
    (tmp_path / "a.pt").symlink_to("b.pt")
    (tmp_path / "b.pt").symlink_to("a.pt")
    assert companions(tmp_path / "a.pt") == ()

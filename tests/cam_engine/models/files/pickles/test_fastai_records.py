"""What fastai's learners keep beside their network.

fastai itself cannot be installed beside the PyTorch that this package needs: its classes are
written out here, as far as pickles name them and what is in them (fastai 2.7).
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from cam_engine.models.header_reading import read_header
from cam_engine.models.loading import Classifier, load_classifier

pytestmark = pytest.mark.usefixtures("one_thread")

CLASSES = ("gametocyte", "ring", "schizont")
Made = Callable[..., Any]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    """An object of one of fastai's classes, with these attributes."""

    def make(name: str, **attributes: object) -> object:
        place, _, kind = name.rpartition(".")
        for count in range(1, place.count(".") + 2):
            parent = ".".join(place.split(".")[:count])
            if parent not in sys.modules:
                monkeypatch.setitem(sys.modules, parent, ModuleType(parent))
        module = sys.modules[place]
        if not hasattr(module, kind):
            setattr(module, kind, type(kind, (), {"__module__": place}))
        instance = getattr(module, kind)()
        vars(instance).update(attributes)
        return instance

    return make


def network() -> nn.Module:
    torch.manual_seed(0)
    made: nn.Module = torchvision.models.resnet18(weights=None, num_classes=len(CLASSES))
    return made.eval()


def vocabulary(made: Made, names: tuple[str, ...] = CLASSES) -> object:
    items = made("fastcore.foundation.L", items=list(names))
    o2i = {name: index for index, name in enumerate(names)}
    return made("fastai.data.transforms.CategoryMap", items=items, o2i=o2i)


def pipeline(made: Made, *transforms: object) -> object:
    return made(
        "fastcore.transform.Pipeline", fs=made("fastcore.foundation.L", items=[*transforms])
    )


def categorize(made: Made, names: tuple[str, ...] = CLASSES) -> object:
    return made("fastai.data.transforms.Categorize", vocab=vocabulary(made, names), sort=True)


def normalize(made: Made) -> object:
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in ([0.5, 0.4, 0.3], [0.2] * 3))
    return made("fastai.data.transforms.Normalize", mean=mean, std=std, axes=(0, 2, 3))


def loaders(made: Made, *transforms: object) -> object:
    """`DataLoaders`, each of which has its transforms somewhere in it."""
    loader = made("fastai.data.core.TfmdDL", after_item=pipeline(made, *transforms))
    return made("fastai.data.core.DataLoaders", loaders=[loader, loader])


def saved(path: Path, what: object) -> Classifier:
    torch.save(what, path, pickle_module=pickle)
    header = read_header(path)
    classifier = load_classifier(path)
    assert header.class_names in (None, classifier.class_names)
    assert header.input_size in (None, classifier.preprocessing.input_size)
    return classifier


def resize(made: Made, kind: str, *size: int) -> object:
    return made(f"fastai.vision.augment.{kind}", size=size, method="crop")


def test_an_exported_learner_says_what_it_was_trained_with(tmp_path: Path, made: Made) -> None:
    transforms = categorize(made), resize(made, "Resize", 96, 96), normalize(made)
    learner = made(
        "fastai.learner.Learner", model=network(), dls=loaders(made, *transforms), path=tmp_path
    )
    classifier = saved(tmp_path / "export.pkl", learner)
    assert classifier.class_names == CLASSES
    seen = classifier.preprocessing
    assert seen.input_size == (96, 96)
    assert seen.mean == pytest.approx((0.5, 0.4, 0.3))
    assert seen.std == pytest.approx((0.2, 0.2, 0.2))
    images = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(classifier.network(images), network()(images))


def test_the_size_of_batches_is_the_last_word(tmp_path: Path, made: Made) -> None:
    """As `aug_transforms(size=64)` leaves it in whichever of its transforms comes first."""
    both = resize(made, "Resize", 120, 120), made("fastai.vision.augment.Flip", size=64)
    bright = made("fastai.vision.augment.Brightness", size=None)
    entries = {"model": network(), "dls": loaders(made, bright, *both)}
    assert saved(tmp_path / "best.pt", entries).preprocessing.input_size == (64, 64)


@pytest.mark.parametrize("as_list", [True, False])
def test_a_vocabulary_beside_weights_has_the_classes(
    tmp_path: Path, made: Made, as_list: bool
) -> None:
    vocab = list(CLASSES) if as_list else vocabulary(made)
    entries = {"model": network().state_dict(), "arch": "resnet18", "vocab": vocab}
    assert saved(tmp_path / "best.pt", entries).class_names == CLASSES


def test_what_two_transforms_say_differently_is_not_taken(tmp_path: Path, made: Made) -> None:
    different = categorize(made), categorize(made, ("a", "b", "c"))
    sizes = resize(made, "Resize", 96, 96), resize(made, "RandomCrop", 64, 64)
    entries = {"model": network(), "dls": loaders(made, *different, *sizes)}
    classifier = saved(tmp_path / "best.pt", entries)
    assert classifier.class_names == ("Class_0", "Class_1", "Class_2")
    assert classifier.sources["class_names"].startswith("assumed")
    assert classifier.sources["input_size"].startswith("assumed")


def test_an_entry_of_its_own_overrules_the_loaders(tmp_path: Path, made: Made) -> None:
    entries = {
        "model": network(),
        "dls": loaders(made, categorize(made, ("a", "b", "c"))),
        "class_names": list(CLASSES),
    }
    assert saved(tmp_path / "best.pt", entries).class_names == CLASSES

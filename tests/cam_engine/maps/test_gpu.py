"""What the engine promises, on a GPU; skipped where there is none."""

from __future__ import annotations

import gc
import logging
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cam_engine.commands.arguments import experiment_main, images_main
from cam_engine.errors import OutOfMemory
from cam_engine.experiments.finding import Experiment
from cam_engine.images.decoding import DEFAULT_LIMITS, decode_image, read_image_bytes
from cam_engine.maps.explainer import Explainer
from cam_engine.method_facts import Method
from cam_engine.models.loading import Classifier, load_classifier
from cam_engine.options import CamOptions
from cam_engine.results import Explanation, RgbImage
from tests.networks import OF_ANY_NETWORK, SIDE, classifier_of, small_network

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

ALL = CamOptions(fused=True)
LAYERS = ("early", "mid", "late", "fused")


@pytest.fixture(autouse=True)
def whole_memory() -> Iterator[None]:
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    gc.collect()
    torch.cuda.empty_cache()


@pytest.fixture
def exact() -> Iterator[None]:
    """float32 products without TF32, as a CPU multiplies."""
    convolutions: Any = torch.backends.cudnn.conv  # type: ignore[attr-defined]  # torch leaves it untyped
    before = convolutions.fp32_precision
    convolutions.fp32_precision = "ieee"
    yield
    convolutions.fp32_precision = before


@pytest.fixture(scope="module")
def classifier(lifecycle: Path) -> Classifier:
    return load_classifier(sorted(lifecycle.glob("cls_*/best.pt"))[0])


@pytest.fixture(scope="module")
def images(lifecycle: Path) -> list[RgbImage]:
    items = Experiment(lifecycle).images()[:12]
    return [decode_image(read_image_bytes(item.path, DEFAULT_LIMITS)) for item in items]


def furthest(some: list[Explanation], others: list[Explanation]) -> float:
    """The largest mean difference of two maps of the same image and layer."""
    return max(
        float(np.abs(one.layer(name).values - other.layer(name).values).mean())
        for one, other in zip(some, others, strict=True)
        for name in LAYERS
    )


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("method", OF_ANY_NETWORK)
def test_maps_are_those_of_the_cpu(
    classifier: Classifier, images: list[RgbImage], method: Method
) -> None:
    options = CamOptions(method=method, fused=True)
    here = Explainer(classifier, device="cpu", precision="float32").explain(images, options)
    there = Explainer(classifier, device="cuda", precision="float32").explain(images, options)
    assert [one.predicted.index for one in here] == [one.predicted.index for one in there]
    assert furthest(here, there) < 2e-3
    for one, other in zip(here, there, strict=True):
        assert one.target.probability == pytest.approx(other.target.probability, abs=2e-3)


def test_the_rules_precision_names_the_same_classes(
    classifier: Classifier, images: list[RgbImage]
) -> None:
    exact = Explainer(classifier, device="cpu", precision="float32").explain(images, ALL)
    ruled = Explainer(classifier, device="cuda").explain(images, ALL)
    assert [one.predicted.index for one in exact] == [one.predicted.index for one in ruled]
    assert furthest(exact, ruled) < 2e-2


@pytest.mark.usefixtures("exact")
def test_a_batch_equals_its_singles_with_mixed_targets(
    classifier: Classifier, images: list[RgbImage]
) -> None:
    explainer = Explainer(classifier, device="cuda", precision="float32")
    targets = [None, 0, 1, "ring"] * 3
    together = explainer.explain(images, ALL, targets)
    alone = [
        explainer.explain([image], ALL, [target])[0]
        for image, target in zip(images, targets, strict=True)
    ]
    assert [one.target.index for one in together] == [one.target.index for one in alone]
    assert furthest(together, alone) < 2e-3


@pytest.mark.usefixtures("exact")
def test_several_threads_get_their_own_answers(
    classifier: Classifier, images: list[RgbImage]
) -> None:
    explainer = Explainer(classifier, device="cuda", precision="float32")
    expected = [explainer.explain([image], ALL) for image in images]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda image: explainer.explain([image], ALL), images * 5))
    for answer, known in zip(answers, expected * 5, strict=True):
        assert furthest(answer, known) < 2e-3


def test_memory_is_the_same_after_many_calls(
    classifier: Classifier, images: list[RgbImage]
) -> None:
    explainer = Explainer(classifier, device="cuda")
    for _ in range(3):
        explainer.explain(images, ALL)
    before = torch.cuda.memory_allocated()
    for _ in range(200):
        explainer.explain(images, ALL)
    assert torch.cuda.memory_allocated() == before


def test_out_of_memory_halves_the_batch_says_so_once_and_goes_on(
    images: list[RgbImage], lifecycle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    classifier = load_classifier(sorted(lifecycle.glob("cls_*/best.pt"))[0])
    many = images * 40
    explainer = Explainer(classifier, device="cuda", batch_size=len(many))
    expected = explainer.explain(images, ALL)
    torch.cuda.reset_peak_memory_stats()
    explainer.explain(many, ALL)
    peak = torch.cuda.max_memory_allocated()
    gc.collect()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(peak / 3 / total)
    with caplog.at_level(logging.WARNING):
        answers = explainer.explain(many, ALL)
    assert caplog.text.count("going on with smaller batches") == 1
    assert 1 <= explainer.batch_size < len(many)
    assert furthest(answers, expected * 40) < 2e-2


def test_too_little_for_one_image_is_a_clear_error_and_leaves_it_usable(
    classifier: Classifier, images: list[RgbImage]
) -> None:
    explainer = Explainer(classifier, device="cuda")
    gc.collect()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 1) / total)
    with pytest.raises(OutOfMemory, match="too little memory for a single image"):
        explainer.explain(images, ALL)
    torch.cuda.set_per_process_memory_fraction(1.0)
    assert len(explainer.explain(images, ALL)) == len(images)


@pytest.mark.usefixtures("exact")
def test_a_tapped_convolution_gives_the_cpus_maps() -> None:
    """A tapped convolution needs the network whose norms are not folded."""
    network = small_network()
    generator = np.random.default_rng(0)
    pictures = [generator.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8) for _ in range(3)]
    names = ("mid.0", "late.0")
    options = CamOptions(layers=names, clahe=False)
    here = Explainer(classifier_of(network), device="cpu", precision="float32")
    there = Explainer(classifier_of(network), device="cuda", precision="float32")
    for one, other in zip(
        here.explain(pictures, options), there.explain(pictures, options), strict=True
    ):
        for name in names:
            np.testing.assert_allclose(one.layer(name).values, other.layer(name).values, atol=2e-2)


def test_the_commands_run_on_it(lifecycle: Path, tmp_path: Path) -> None:
    run = tmp_path / "experiment_x"
    shutil.copytree(lifecycle, run)
    assert experiment_main(["--exp-folder", str(run), "--device", "cuda", "--quiet"]) == 0
    model = sorted(run.glob("cls_*/best.pt"))[0]
    out = tmp_path / "out"
    crops = run / "crops_gt_crops" / "crops"
    arguments = ["--model", str(model), "--images", str(crops), "--output", str(out), "--quiet"]
    assert images_main([*arguments, "--max-images", "64"]) == 0
    assert len(list(out.glob("improved_gradcam_*.png"))) == 64

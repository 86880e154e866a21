"""Maps that know nothing: how they look, and that the measures say so."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import convolve, gaussian_filter
from torch import nn

from cam_engine.evidence.agreement import rank_correlation
from cam_engine.evidence.controls import (
    GAUSSIAN_SIGMA,
    blurred_copy,
    centred_gaussian,
    edges,
    random_smooth,
    uniform_map,
)
from cam_engine.evidence.faithfulness import blurred, deletion, insertion
from cam_engine.evidence.images.imputation import SHARES, highest, imputed
from cam_engine.evidence.localisation import average_precision, energy, peak_share
from cam_engine.evidence.randomisation import complexity_rise, randomised, similarity
from cam_engine.maps.explainer import Explainer
from cam_engine.method_facts import Method
from cam_engine.options import CamOptions
from cam_engine.results import FloatMap, RgbImage
from tests.networks import SIDE, classifier_of, small_network


def picture(size: tuple[int, int] = (48, 64), seed: int = 0) -> RgbImage:
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.float64)
    return np.asarray(gaussian_filter(noise, (2, 2, 0)).round(), np.uint8)


@pytest.mark.parametrize(
    "make",
    [
        lambda: uniform_map((48, 64)),
        lambda: centred_gaussian((48, 64)),
        lambda: random_smooth((48, 64), np.random.default_rng(0)),
        lambda: edges(picture()),
        lambda: blurred_copy(edges(picture())),
    ],
    ids=["uniform", "Gaussian", "random", "edges", "blurred"],
)
def test_all_are_maps(make: object) -> None:
    assert callable(make)
    values = make()
    assert values.shape == (48, 64)
    assert values.dtype == np.float32
    assert np.isfinite(values).all()
    assert values.min() >= 0
    assert values.max() > 0


def test_the_spot_is_in_the_middle_and_round_by_the_crops_measure() -> None:
    """At a quarter of the side off the middle, exp(-1/2) of the peak; the same turned by half."""
    values = centred_gaussian((101, 201))
    assert values.argmax() == 50 * 201 + 100
    assert values.max() == pytest.approx(1.0)
    off = (0.25 * 101, 0.25 * 201)
    assert values[50 + round(off[0]), 100] == pytest.approx(np.exp(-0.5), abs=0.02)
    assert values[50, 100 + round(off[1])] == pytest.approx(np.exp(-0.5), abs=0.02)
    assert (values == values[::-1, ::-1]).all()
    assert GAUSSIAN_SIGMA == 0.25
    even = centred_gaussian((100, 100))
    assert (even == even.T).all()
    assert (even == even[::-1]).all()


def test_random_blobs_are_those_of_their_generator_and_as_large_as_those_of_maps() -> None:
    one, same = (random_smooth((80, 80), np.random.default_rng(3)) for _ in range(2))
    other = random_smooth((80, 80), np.random.default_rng(4))
    assert (one == same).all()
    assert not (one == other).all()
    assert (one.min(), one.max()) == (0.0, 1.0)
    # White noise after a Gaussian of sigma s: neighbours at distance d correlate by exp(-d²/4s²).
    maps = [random_smooth((80, 80), np.random.default_rng(seed)) for seed in range(200)]
    middle = np.array([[values[40, 34], values[40, 42]] for values in maps])
    expected = np.exp(-(8**2) / (4 * 8**2))
    assert np.corrcoef(middle.T)[0, 1] == pytest.approx(expected, abs=0.1)


def test_edges_are_sobels() -> None:
    """By hand: root mean square of both derivatives, [1 2 1] across and [1 0 -1] / 2 along."""
    image = picture()
    grey = (image @ np.array([0.299, 0.587, 0.114])).round() / 255
    kernel = np.outer([1, 0, -1], [1, 2, 1]) / 4 / 2
    found = [convolve(grey, part * 2, mode="reflect") for part in (kernel, kernel.T)]
    expected = np.sqrt((np.square(found[0]) + np.square(found[1])) / 2)
    np.testing.assert_allclose(edges(image), expected, atol=0.01)
    step = np.zeros((20, 20, 3), np.uint8)
    step[:, 10:] = 200
    assert set(np.flatnonzero(edges(step)[10])) == {9, 10}
    assert edges(np.full((20, 20, 3), 70, np.uint8)).max() == pytest.approx(0.0, abs=1e-6)


def test_edges_are_of_brightness() -> None:
    """Green is bright and blue is dark (BT.601)."""
    images = [np.zeros((20, 20, 3), np.uint8) for _ in range(3)]
    for channel, image in enumerate(images):
        image[:, 10:, channel] = 200
    heights = [float(edges(image).max()) for image in images]
    np.testing.assert_allclose(np.array(heights) / sum(heights), [0.299, 0.587, 0.114], atol=0.005)


def test_a_blurred_copy_is_a_gaussian_of_a_tenth_of_the_side() -> None:
    point = np.zeros((101, 81), np.float32)
    point[50, 40] = 1
    spread = blurred_copy(point)
    expected = gaussian_filter(point, 10.1, mode="mirror")
    np.testing.assert_allclose(spread, expected, atol=2e-5)
    assert float(spread.sum()) == pytest.approx(1.0, abs=0.01)
    assert point.sum() == 1


# What the measures say of maps that know nothing.


@pytest.fixture(scope="module")
def scored() -> tuple[RgbImage, NDArray[np.bool_]]:
    mask = np.zeros((48, 64), bool)
    mask[10:30, 5:40] = True
    return picture(), mask


def redness(images: Sequence[RgbImage]) -> NDArray[np.float64]:
    return np.array([image[10:20, 10:30, 0].mean() / 255 for image in images])


def test_a_uniform_map_scores_chance(scored: tuple[RgbImage, NDArray[np.bool_]]) -> None:
    _, mask = scored
    values, share = uniform_map((48, 64)), float(mask.mean())
    assert average_precision(values, mask) == pytest.approx(share, abs=0.003)
    assert peak_share(values, mask) == pytest.approx(share, abs=1e-12)
    assert energy(values, mask) == pytest.approx(share, abs=1e-6)


def test_a_uniform_map_follows_no_answer(scored: tuple[RgbImage, NDArray[np.bool_]]) -> None:
    """All goes in one step: insertion and deletion are the same straight line, there and back."""
    image, _ = scored
    values, base = uniform_map((48, 64)), blurred(image)
    into, out = (measure(values, image, base, redness) for measure in (insertion, deletion))
    assert into.shares.tolist() == out.shares.tolist() == [0.0, 1.0]
    assert into.scores.tolist() == out.scores[::-1].tolist()
    assert into.area - out.area == pytest.approx(0.0, abs=1e-12)


def test_a_uniform_map_has_no_difference_in_road(
    scored: tuple[RgbImage, NDArray[np.bool_]],
) -> None:
    image = scored[0].astype(np.float64) / 255
    values = uniform_map((48, 64))
    lowest, first = (
        [imputed(image, gone, np.random.default_rng(0)) for gone in highest(order, SHARES)]
        for order in (-values, values)
    )
    for one, other in zip(lowest, first, strict=True):
        assert (one == other).all()


def test_a_map_of_the_mask_beats_every_control(
    scored: tuple[RgbImage, NDArray[np.bool_]],
) -> None:
    """So that chance is not what everything scores."""
    image, mask = scored
    rng = np.random.default_rng(0)
    controls = [centred_gaussian(mask.shape), random_smooth(mask.shape, rng), edges(image)]
    assert average_precision(mask.astype(np.float32), mask) == pytest.approx(1.0)
    for values in controls:
        assert average_precision(values, mask) < 0.8
        assert energy(values, mask) < 0.8


def own_maps(seed: int = 0) -> list[RgbImage]:
    return [picture((SIDE, SIDE), seed + at) for at in range(3)]


def test_eigen_cam_does_not_know_the_class_and_grad_cam_does() -> None:
    """A known answer of the correlation of maps for two classes."""
    explainer = Explainer(classifier_of(small_network()), device="cpu", precision="float32")

    def correlations(method: Method) -> list[float | None]:
        options = CamOptions(clahe=False, method=method, layers=("early",))
        made = [explainer.explain(own_maps(), options, [target] * 3) for target in (0, 1)]
        return [
            rank_correlation(one.layer("early").values, other.layer("early").values)
            for one, other in zip(*made, strict=True)
        ]

    assert correlations("eigencam") == pytest.approx([1.0] * 3)
    assert all(rho is None or rho < 0.999 for rho in correlations("gradcam"))


def test_maps_that_know_nothing_stay_as_they_are_while_the_network_becomes_random() -> None:
    """Handed in as explanations: they never look at the network, and the measures show it."""
    network: nn.Module = small_network()
    images = own_maps()
    batch = torch.rand((3, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(0))

    def gaussian(_: nn.Module, image: RgbImage) -> FloatMap:
        return centred_gaussian(image.shape[:2])

    def sobel(_: nn.Module, image: RgbImage) -> FloatMap:
        return edges(image)

    for explain in (gaussian, sobel):
        trained = [explain(network, image) for image in images]
        for step in randomised(network, batch, 0):
            for own, image in zip(trained, images, strict=True):
                found = explain(step.network, image)
                assert similarity(own, found) == 1.0
                assert rank_correlation(own, found) == pytest.approx(1.0)
                assert complexity_rise(own, found) == 0.0


def test_a_gradient_changes_while_the_network_becomes_random() -> None:
    """The contrary: a map of the network is less alike once it is random."""
    network = small_network()
    (image,) = own_maps()[:1]
    batch = torch.rand((3, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(0))

    def gradient(of: nn.Module) -> FloatMap:
        pixels = torch.tensor(image.transpose(2, 0, 1)[None] / 255, dtype=torch.float32)
        pixels.requires_grad_()
        of(pixels)[0, 0].backward()
        assert pixels.grad is not None
        values = pixels.grad[0].abs().sum(0).numpy()
        return np.asarray(values / values.max(), np.float32)

    own = gradient(network)
    *_, last = randomised(network, batch, 0)
    assert similarity(own, gradient(network)) == pytest.approx(1.0)
    assert similarity(own, gradient(last.network)) < 0.9

"""The formulas, against values worked out by hand, float64, and pytorch-grad-cam."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from types import ModuleType

import cv2
import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn

from cam_engine.maps import methods as cam
from cam_engine.maps.methods import METHOD_FUNCTIONS
from cam_engine.method_facts import Method

GRADIENT_METHODS = [name for name in METHOD_FUNCTIONS if name != "eigencam"]


def one_image(*channels: list[list[float]]) -> Tensor:
    return torch.tensor([channels], dtype=torch.float32)


# Two channels of two pixels: small enough to follow with a pencil.
ACTIVATIONS = one_image([[1.0, 3.0]], [[2.0, 0.0]])
GRADIENTS = one_image([[0.5, 1.0]], [[-1.0, 2.0]])


def test_grad_cam_by_hand() -> None:
    # weights: mean(.5, 1) = .75 and mean(-1, 2) = .5
    expected = torch.tensor([[[0.75 * 1 + 0.5 * 2, 0.75 * 3 + 0.5 * 0]]])
    torch.testing.assert_close(cam.grad_cam(ACTIVATIONS, GRADIENTS), expected)


def test_grad_cam_plus_plus_by_hand() -> None:
    # sum(A) is 4 and 2; weights: .5 / (2 + 4*.5) + 1 / (2 + 4*1), and 2 / (2 + 2*2)
    first, second = 0.5 / 4 + 1 / 6, 2 / 6
    expected = torch.tensor([[[first * 1 + second * 2, first * 3]]])
    torch.testing.assert_close(cam.grad_cam_plus_plus(ACTIVATIONS, GRADIENTS), expected)


def test_hires_cam_by_hand() -> None:
    expected = torch.tensor([[[max(0.0, 0.5 * 1 - 1 * 2), 1.0 * 3 + 2 * 0]]])
    torch.testing.assert_close(cam.hires_cam(ACTIVATIONS, GRADIENTS), expected)


def test_layer_cam_by_hand() -> None:
    expected = torch.tensor([[[0.5 * 1 + 0 * 2, 1.0 * 3 + 2 * 0]]])
    torch.testing.assert_close(cam.layer_cam(ACTIVATIONS, GRADIENTS), expected)


def test_xgrad_cam_by_hand() -> None:
    # weights: (.5*1 + 1*3) / 4 and (-1*2 + 2*0) / 2
    first, second = 3.5 / 4, -1.0
    expected = torch.tensor([[[max(0.0, first * 1 + second * 2), first * 3]]])
    torch.testing.assert_close(cam.xgrad_cam(ACTIVATIONS, GRADIENTS), expected)


def test_xgrad_cam_leaves_out_channels_that_sum_to_zero() -> None:
    activations = one_image([[1.0, -1.0]], [[1.0, 2.0]])
    gradients = one_image([[5.0, 1.0]], [[1.0, 1.0]])
    expected = torch.tensor([[[1.0, 2.0]]])
    torch.testing.assert_close(cam.xgrad_cam(activations, gradients), expected)


def test_eigen_cam_finds_the_direction_of_a_rank_one_activation() -> None:
    pattern = torch.tensor([[0.0, 1.0], [2.0, 5.0]])
    activations = torch.stack([pattern * weight for weight in (1.0, -2.0, 0.5)])[None]
    answer = cam.eigen_cam(activations)[0]
    length = np.sqrt(1 + 4 + 0.25)
    expected = ((pattern - pattern.mean()) * length).clamp_min(0)
    torch.testing.assert_close(answer, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_eigen_cam_sign_follows_the_activation(sign: float) -> None:
    activations = torch.zeros(1, 3, 4, 4)
    activations[0, :, 1, 2] = sign * torch.tensor([3.0, 1.0, 2.0])
    answer = cam.eigen_cam(activations)[0]
    assert answer.argmax() == 1 * 4 + 2


def test_eigen_cam_wide_and_tall_agree() -> None:
    """More pixels than channels, and the other way round, take different Gram matrices."""
    torch.manual_seed(0)
    activations = torch.rand(2, 5, 6, 6)
    padded = torch.cat([activations, torch.zeros(2, 60, 6, 6)], 1)
    torch.testing.assert_close(
        cam.eigen_cam(activations), cam.eigen_cam(padded), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("method", METHOD_FUNCTIONS)
def test_nothing_in_nothing_out(method: Method) -> None:
    nothing = torch.zeros(2, 3, 4, 5)
    answer = METHOD_FUNCTIONS[method](nothing, nothing)
    assert answer.shape == (2, 4, 5)
    assert torch.equal(answer, torch.zeros(2, 4, 5))


@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_evidence_against_the_class_leaves_the_map_empty(method: Method) -> None:
    torch.manual_seed(1)
    answer = METHOD_FUNCTIONS[method](torch.rand(1, 8, 5, 5), -torch.rand(1, 8, 5, 5))
    assert float(answer.max()) == 0.0


@pytest.mark.parametrize("method", METHOD_FUNCTIONS)
def test_inputs_are_left_alone_and_a_batch_equals_its_singles(method: Method) -> None:
    torch.manual_seed(2)
    activations, gradients = torch.randn(4, 6, 5, 7), torch.randn(4, 6, 5, 7)
    before = activations.clone(), gradients.clone()
    batch = METHOD_FUNCTIONS[method](activations, gradients)
    assert torch.equal(activations, before[0])
    assert torch.equal(gradients, before[1])
    singles = [
        METHOD_FUNCTIONS[method](activations[i : i + 1], gradients[i : i + 1]) for i in range(4)
    ]
    torch.testing.assert_close(batch, torch.cat(singles), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", METHOD_FUNCTIONS)
def test_half_precision_inputs_give_finite_float32_maps(method: Method) -> None:
    torch.manual_seed(3)
    activations = torch.rand(1, 6, 5, 5).bfloat16()
    gradients = (torch.randn(1, 6, 5, 5) * 1e-5).bfloat16()
    answer = METHOD_FUNCTIONS[method](activations, gradients)
    assert answer.dtype == torch.float32
    assert bool(torch.isfinite(answer).all())
    assert float(answer.max()) > 0


@pytest.mark.parametrize("size", [1.0, 1e-2, 1e-4, 1e-6])
def test_grad_cam_plus_plus_equals_the_paper_in_float64_however_small_g(size: float) -> None:
    torch.manual_seed(4)
    activations = torch.rand(2, 16, 7, 7)
    gradients = torch.randn(2, 16, 7, 7) * size
    a, g = activations.double(), gradients.double()
    alpha = g**2 / (2 * g**2 + a.sum((2, 3), keepdim=True) * g**3)
    weights = (alpha * g.relu()).sum((2, 3))
    expected = torch.einsum("nc,nchw->nhw", weights, a).relu()
    answer = cam.grad_cam_plus_plus(activations, gradients).double()
    torch.testing.assert_close(answer / answer.max(), expected / expected.max(), rtol=0, atol=1e-5)


def test_grad_cam_plus_plus_stays_finite_at_its_pole() -> None:
    activations = one_image([[1.0, -3.0]])  # sums to -2, so that 2 + sum(A) g = 0 at g = 1
    answer = cam.grad_cam_plus_plus(activations, torch.ones(1, 1, 1, 2))
    assert bool(torch.isfinite(answer).all())


def test_the_pole_is_guarded_where_only_some_channels_are_signed() -> None:
    activations = one_image([[1.0, -3.0]], [[1.0, 3.0]])
    answer = cam.grad_cam_plus_plus(activations, torch.ones(1, 2, 1, 2))
    assert bool(torch.isfinite(answer).all())


@pytest.mark.parametrize("method", ["gradcam", "hirescam", "layercam", "xgradcam"])
def test_global_average_pooling_and_a_linear_head_give_the_scaled_cam(method: Method) -> None:
    """Zhou et al. 2016: with GAP + linear, dY/dA_k = w_k / (h w), so the map is CAM / (h w)."""
    torch.manual_seed(5)
    body, head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 4)
    nn.init.uniform_(head.weight, 0.1, 1.0)
    activations = body(torch.rand(2, 3, 6, 6)).relu().detach().requires_grad_()
    logits = head(activations.mean((2, 3)))
    (gradients,) = torch.autograd.grad(logits[:, 1].sum(), activations)
    classical = torch.einsum("c,nchw->nhw", head.weight[1], activations).relu() / 36
    answer = METHOD_FUNCTIONS[method](activations.detach(), gradients)
    torch.testing.assert_close(answer, classical.detach(), rtol=1e-5, atol=1e-6)


def test_fuse_is_the_geometric_mean_on_the_finest_grid() -> None:
    fine = torch.tensor([[[0.0, 0.25], [0.5, 1.0]]])
    coarse = torch.tensor([[[0.25]]])
    torch.testing.assert_close(cam.fuse([coarse, fine]), (fine * 0.25).sqrt())


def test_fuse_interpolates_between_the_centres_of_cells() -> None:
    """As OpenCV does by INTER_LINEAR; the finest grid is the one of most cells."""
    generator = np.random.default_rng(6)
    arrays = [generator.random(shape, dtype=np.float32) for shape in ((3, 4), (6, 8), (2, 9))]
    fine = [cv2.resize(array, (8, 6), interpolation=cv2.INTER_LINEAR) for array in arrays[:2]]
    fine.append(bilinear(arrays[2], (6, 8)))
    expected = np.cbrt(fine[0] * fine[1] * fine[2])
    answer = cam.fuse([torch.from_numpy(array)[None] for array in arrays])
    np.testing.assert_allclose(answer[0].numpy(), expected, atol=1e-5)


def bilinear(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Spelled out: centres of cells are at half numbers; beyond the last ones it is constant."""
    found = np.zeros(size)
    (height, width), (rows, columns) = values.shape, size
    for row, column in np.ndindex(size):
        y = min(max((row + 0.5) * height / rows - 0.5, 0), height - 1)
        x = min(max((column + 0.5) * width / columns - 0.5, 0), width - 1)
        top, left = int(y), int(x)
        below, right = min(top + 1, height - 1), min(left + 1, width - 1)
        upper = values[top, left] * (1 - x + left) + values[top, right] * (x - left)
        lower = values[below, left] * (1 - x + left) + values[below, right] * (x - left)
        found[row, column] = upper * (1 - y + top) + lower * (y - top)
    return found


def test_nothing_cannot_be_fused() -> None:
    with pytest.raises(ValueError, match="no maps to fuse"):
        cam.fuse([])


def test_fuse_with_an_empty_map_is_empty() -> None:
    assert float(cam.fuse([torch.rand(1, 4, 4), torch.zeros(1, 2, 2)]).max()) == 0.0


PEER_NETWORKS = {
    "resnet50": ("layer2", "layer3", "layer4"),
    "densenet121": ("features.denseblock2", "features.denseblock3", "features.denseblock4"),
    "efficientnet_b1": ("features.3", "features.5", "features.7"),
}
PEER_CLASSES = {
    "gradcam": "GradCAM",
    "gradcam++": "GradCAMPlusPlus",
    "hirescam": "HiResCAM",
    "layercam": "LayerCAM",
    "xgradcam": "XGradCAM",
    "eigencam": "EigenCAM",
}


class ScaledLogit:
    """A class's logit times a factor: gradients scale with it."""

    def __init__(self, category: int, factor: float) -> None:
        self.category, self.factor = category, factor

    def __call__(self, output: Tensor) -> Tensor:
        return output[self.category] * self.factor


@pytest.fixture(scope="module")
def peer() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: ModuleType = pytest.importorskip(
            "pytorch_grad_cam", reason="the dev extra is not installed"
        )
        return found


@dataclass(frozen=True)
class Taken:
    """What pytorch-grad-cam's own hooks kept of one layer, for a batch of mixed classes."""

    activations: Tensor
    gradients: Tensor


@pytest.fixture(scope="module", params=PEER_NETWORKS)
def taken(request: pytest.FixtureRequest, peer: ModuleType) -> list[Taken]:
    torch.manual_seed(7)
    model = getattr(torchvision.models, request.param)(weights=None, num_classes=4)
    # A few steps of running statistics, so that activations are of ordinary size.
    model.train()
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(4, 3, 96, 96))
    model.eval()
    return [take(peer, model, layer) for layer in PEER_NETWORKS[request.param]]


def take(peer: ModuleType, model: nn.Module, layer: str) -> Taken:
    """Run the peer twice: once to see how large gradients are, once with them scaled up."""
    batch = torch.randn(3, 3, 96, 96)

    def run(factor: float) -> Taken:
        targets = [ScaledLogit(category, factor) for category in (0, 3, 1)]
        with peer.GradCAM(model=model, target_layers=[model.get_submodule(layer)]) as extractor:
            extractor(batch, targets)
            hooks = extractor.activations_and_grads
            return Taken(hooks.activations[0], hooks.gradients[0])

    gradients = run(1.0).gradients.abs()
    return run(1000.0 / float(gradients[gradients > 0].median()))


def unit(raw: np.ndarray) -> np.ndarray:
    positive = np.maximum(raw, 0)
    return np.asarray(positive / np.maximum(positive.max(axis=(1, 2), keepdims=True), 1e-30))


@pytest.mark.parametrize("method", PEER_CLASSES)
def test_maps_equal_pytorch_grad_cam(peer: ModuleType, taken: list[Taken], method: Method) -> None:
    formula = getattr(peer, PEER_CLASSES[method])
    for layer in taken:
        sizes = layer.gradients.abs()
        assert float(sizes[sizes > 0].median()) >= 0.1
        arrays = layer.activations.numpy(), layer.gradients.numpy()
        anything = nn.Conv2d(1, 1, 1)  # the peer's object wants a network; its formula does not
        with formula(model=anything, target_layers=[anything]) as extractor:
            raw = np.asarray(extractor.get_cam_image(None, None, None, *arrays, eigen_smooth=False))
        ours = unit(METHOD_FUNCTIONS[method](layer.activations, layer.gradients).numpy())
        # The peer leaves the sign of its singular vector as it falls.
        theirs = [unit(raw), unit(-raw)] if method == "eigencam" else [unit(raw)]
        for image in range(3):
            difference = min(float(np.abs(ours[image] - t[image]).max()) for t in theirs)
            assert difference < 1e-4, (image, difference)


def test_the_peers_epsilon_spoils_small_gradients_and_ours_does_not(peer: ModuleType) -> None:
    """At |g| ~ 1e-4 the peer's `+ 1e-6` outweighs 2 g^2; the paper's formula in float64 decides."""
    torch.manual_seed(9)
    activations, gradients = torch.rand(1, 64, 7, 7), torch.randn(1, 64, 7, 7) * 1e-4
    weights = peer.GradCAMPlusPlus.get_cam_weights(
        None, None, None, None, activations.numpy(), gradients.numpy()
    )
    theirs = np.maximum(np.einsum("nc,nchw->nhw", weights, activations.numpy()), 0)
    a, g = activations.double(), gradients.double()
    exact = (g**2 / (2 * g**2 + a.sum((2, 3), keepdim=True) * g**3) * g.relu()).sum((2, 3))
    truth = torch.einsum("nc,nchw->nhw", exact, a).relu().numpy()
    ours = cam.grad_cam_plus_plus(activations, gradients).numpy()
    assert float(np.median(theirs / truth)) < 0.1
    np.testing.assert_allclose(ours, truth, rtol=1e-4)

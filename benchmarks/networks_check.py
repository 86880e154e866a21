"""One network of a library: saved, loaded, explained, and compared with the library itself."""

from __future__ import annotations

import importlib
import math
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from torch import Tensor, nn

from cam_engine.errors import CamError
from cam_engine.maps.explainer import Explainer
from cam_engine.maps.targets import PlannedLayer, plan_layers, spatial
from cam_engine.method_facts import Method
from cam_engine.models.architectures import Tap, find_architecture
from cam_engine.models.loading import Classifier, load_classifier
from cam_engine.options import STAGES, CamOptions

LIBRARIES = ("torchvision", "timm")
CLASSES = 4
FOLDER_IN_MEMORY = Path("/dev/shm")  # noqa: S108 (files that live for a second)
PEER_CLASSES: dict[Method, str] = {"gradcam": "GradCAM", "layercam": "LayerCAM"}

# What a network is held to: relative to the largest logit, and of maps that go from 0 to 1.
LOGITS_WITHIN = 1e-4
MAPS_WITHIN = 1e-2
CANCELLED = 0.05  # a map whose maximum is less of what was summed up is compared on that scale
ELSEWHERE_WITHIN = 0.5


@dataclass(frozen=True, slots=True)
class LayerFact:
    """Early, mid or late: its module, `Sign`, grid (h, w), and how its output is laid out.

    elsewhere: 0..1, how much of what one cell depends on lies elsewhere in the image (see
    `_elsewhere`).
    """

    name: str
    module: str
    sign: str
    grid: tuple[int, int]
    layout: str
    elsewhere: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one network.

    reason: why it can't be explained, as one sentence; None where it can. logits_difference:
    largest, of the loaded network and the library's, relative to the largest logit.
    map_difference: largest, of ours and pytorch-grad-cam's, relative to the map's maximum (see
    CANCELLED); `empty` of the maps compared had nothing positive.
    """

    library: str
    name: str
    family: str
    parameters: int
    reason: str | None = None
    input_size: tuple[int, int] | None = None
    layers: tuple[LayerFact, ...] = ()
    logits_difference: float | None = None
    map_difference: float | None = None
    empty: int = 0
    seconds: float = 0.0

    @property
    def problem(self) -> str | None:
        """The reason, or what of the comparison is not as it should be."""
        if self.reason is not None:
            return self.reason
        if not _within(self.logits_difference, LOGITS_WITHIN):
            return (
                f"logits differ from the library's by {self.logits_difference:.1e} of the largest"
            )
        if not _within(self.map_difference, MAPS_WITHIN):
            return f"maps differ from pytorch-grad-cam's by {self.map_difference:.1e}"
        for layer in self.layers:
            if layer.elsewhere > ELSEWHERE_WITHIN:
                return f"cells of {layer.module} depend most on other places in the image"
        return None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Outcome:
        layers = tuple(
            LayerFact(**{**layer, "grid": tuple(layer["grid"])}) for layer in record["layers"]
        )
        size = record["input_size"]
        return cls(**{**record, "layers": layers, "input_size": size and tuple(size)})


def names_of(library: str) -> list[str]:
    """All classifiers that the library's registry lists."""
    if library == "torchvision":
        return list(torchvision.models.list_models(module=torchvision.models))
    return list(_timm().list_models())


def family_of(library: str, name: str) -> str:
    """The library's own module that builds it."""
    if library == "torchvision":
        builder = torchvision.models.get_model_builder(name)
    else:
        builder = _timm().models.model_entrypoint(name)
    return str(builder.__module__).rpartition(".")[2]


def own_network(library: str, name: str) -> nn.Module:
    """The library's own, with random weights, in eval mode."""
    if library == "timm":
        network: nn.Module = _timm().create_model(name, pretrained=False, num_classes=CLASSES)
        return network.eval()
    # Those two draw their weights by scipy, for seconds.
    options = {"init_weights": False} if name in {"inception_v3", "googlenet"} else {}
    network = torchvision.models.get_model(name, weights=None, num_classes=CLASSES, **options)
    return network.eval()


def parameters_of(library: str, name: str) -> int:
    """Counted without memory where that can be. Raises whatever the library raises."""
    try:
        with torch.device("meta"):
            network = own_network(library, name)
    except (NotImplementedError, RuntimeError):  # code that looks at values while it builds
        network = own_network(library, name)
    return sum(parameter.numel() for parameter in network.parameters())


def check(library: str, name: str, parameters: int) -> Outcome:
    """Save, load, explain and compare one network; whatever goes wrong is its reason."""
    start = time.perf_counter()
    outcome = Outcome(library, name, family_of(library, name), parameters)
    try:
        outcome = _checked(outcome)
    except CamError as error:
        outcome = _refused(outcome, str(error))
    except Exception as error:
        outcome = _refused(outcome, f"{type(error).__name__}: {error}")
    return replace(outcome, seconds=round(time.perf_counter() - start, 2))


def _checked(outcome: Outcome) -> Outcome:
    torch.manual_seed(0)
    try:
        network = own_network(outcome.library, outcome.name)
    except Exception as error:
        return _refused(outcome, f"the library itself does not build it: {error}")
    _wake(network)
    classifier = _saved_and_loaded(outcome, network)
    explainer = Explainer(classifier, device="cpu", precision="float32")
    # Where rounding makes a ReLU's input of nearly 0 positive or negative, a whole part of a map
    # differs; another image has other numbers. And torch's batch norm on a CPU has wrong gradients
    # for one image whose cells become tokens: those of the library's network are right for two.
    compared = outcome
    for seed, count in enumerate((1, 2, 2)):
        torch.manual_seed(seed)
        image = torch.randn(1, 3, *classifier.preprocessing.input_size)
        compared = _compared(outcome, network, explainer, image, count)
        if compared.problem is None:
            break
    return compared


def _compared(
    outcome: Outcome, network: nn.Module, explainer: Explainer, image: Tensor, count: int
) -> Outcome:
    """Of the image, which the library's network gets so many times over."""
    classifier = explainer.classifier
    [explanation] = explainer.explain_batch(image, CamOptions(fused=True))
    target = explanation.target.index
    with torch.no_grad():
        # As many of it as there: rounding depends on the number.
        logits = classifier.network(image.repeat(count, 1, 1, 1))[:1]
    planned = plan_layers(STAGES, classifier.layout, classifier.network, "raw")
    tapped = _Tapped(network, planned, image.repeat(count, 1, 1, 1), target)
    difference, empty = _difference(explainer, image, target, tapped)
    return replace(
        outcome,
        input_size=classifier.preprocessing.input_size,
        layers=tuple(_facts(classifier, planned, tapped)),
        logits_difference=_relative(logits, tapped.logits[:1]),
        map_difference=difference,
        empty=empty,
    )


def _saved_and_loaded(outcome: Outcome, network: nn.Module) -> Classifier:
    folder = FOLDER_IN_MEMORY if FOLDER_IN_MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        # Both libraries have networks of one name: a prefix tells whose is meant.
        prefix = "torchvision.models." if outcome.library == "torchvision" else "timm/"
        path = Path(scratch) / "best.pt"
        content = {"state_dict": network.state_dict(), "model_name": prefix + outcome.name}
        torch.save(content, path)
        return load_classifier(path)


def _wake(network: nn.Module) -> None:
    """Random numbers for weights that begin at zero: through those no gradient comes."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            is_bias = name.endswith("bias")
            if not is_bias and parameter.numel() and not parameter.any():
                parameter.normal_(std=0.02)


class _Tapped:
    """One pass of the library's network under pytorch-grad-cam's hooks, its graph kept.

    arrays: activations and gradients of each layer, (1, C, h, w). elsewhere: see `LayerFact`.
    """

    def __init__(
        self, network: nn.Module, planned: Sequence[PlannedLayer], images: Tensor, target: int
    ) -> None:
        taps = [layer.tap for layer in planned]
        modules = [network.get_submodule(tap.module) for tap in taps]
        self.outputs: dict[nn.Module, Tensor] = {}
        self.calls: list[nn.Module] = []
        handles = [module.register_forward_hook(self._keep) for module in modules]
        network.requires_grad_(requires_grad=False)
        images = images.clone().requires_grad_()
        peer = peers()
        with peer.GradCAM(
            model=network, target_layers=modules, reshape_transform=_reshape(taps)
        ) as extractor:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                extractor(images, [_target(target)] * len(images))
            hooks = extractor.activations_and_grads
            self.logits: Tensor = extractor.outputs.detach()
            kept = zip(self.calls, hooks.activations, hooks.gradients, strict=True)
            by_module = {
                module: (activations[:1].numpy(), gradients[:1].numpy())
                for module, activations, gradients in kept
            }
        for handle in handles:
            handle.remove()
        self.arrays = [by_module[module] for module in modules]
        self.raw = [self.outputs[module] for module in modules]
        grids = [spatial(output, tap) for output, tap in zip(self.raw, taps, strict=True)]
        self.grids = [(grid.shape[2], grid.shape[3]) for grid in grids]
        self.elsewhere = [_elsewhere(grid, images) for grid in grids]

    def _keep(self, module: nn.Module, _inputs: object, output: Tensor) -> None:
        self.calls.append(module)
        self.outputs[module] = output.clone()  # as it is now, whatever is written into it later


def _elsewhere(activations: Tensor, images: Tensor) -> float:
    """For a cell off the middle: how far its place in the image is from mattering to it most, 0..1.

    The lesser of two shares: of the cells elsewhere that matter as much as the middle one of those
    within a cell's distance, and of what the cells that matter most have more than those.
    """
    _, channels, height, width = activations.shape
    row, column = height // 4, 3 * width // 4
    mixture = torch.randn(channels, generator=torch.Generator().manual_seed(1))
    score = (activations[0, :, row, column] * mixture).sum()
    (gradient,) = torch.autograd.grad(score, images, retain_graph=True)
    energy = nn.functional.adaptive_avg_pool2d(gradient[:1].square().sum(1), (height, width))[0]
    inside = torch.zeros_like(energy, dtype=torch.bool)
    inside[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2] = True
    here, others = energy[inside], energy[~inside]
    more = float((others >= here.median()).float().mean()) if others.numel() else 0.0
    most = energy.flatten().topk(len(here)).values.sum()
    lacking = 1 - float(here.sum() / most) if float(most) > 0 else 0.0
    return round(min(more, lacking), 3)


def _reshape(taps: Sequence[Tap]) -> Callable[[Tensor], Tensor]:
    """To (N, C, h, w), as users of pytorch-grad-cam write it; layers of one shape are alike."""
    tokens = {tap.tokens for tap in taps if tap.tokens is not None}
    grids = {math.prod(tap.grid): tap.grid for tap in taps if tap.grid is not None}
    channels = {tap.channels for tap in taps if tap.channels is not None}

    def reshape(output: Tensor) -> Tensor:
        if output.ndim == 3:
            (prefix,) = [token for token in tokens if _is_grid(output.shape[1] - token, grids)][:1]
            cells = output[:, prefix:]
            side = math.isqrt(cells.shape[1])
            height, width = grids.get(cells.shape[1], (side, side))
            grid = cells.reshape(len(cells), height, width, cells.shape[2])
            return grid.movedim(3, 1).clone()
        last = output.shape[3] in channels and output.shape[1] not in channels
        return (output.movedim(3, 1) if last else output).clone()

    return reshape


def _is_grid(cells: int, grids: dict[int, tuple[int, int]]) -> bool:
    return cells in grids or math.isqrt(cells) ** 2 == cells


def _difference(
    explainer: Explainer, image: Tensor, target: int, tapped: _Tapped
) -> tuple[float, int]:
    """The largest of maps over both methods and all layers, relative to the map's maximum.

    And how many of them are empty.
    """
    largest, empty = 0.0, 0
    for method, peer_class in PEER_CLASSES.items():
        options = CamOptions(method=method, layers=STAGES, taps="raw", target=target)
        [explanation] = explainer.explain_batch(image, options)
        for layer, arrays in zip(explanation.layers, tapped.arrays, strict=True):
            theirs = _their_map(peer_class, *arrays)
            empty += not theirs.any()
            scale = max(float(theirs.max()), CANCELLED * _summed(*arrays)) or 1.0
            difference = np.abs(layer.values * layer.maximum - theirs).max() / scale
            largest = max(largest, float(difference))
    return largest, empty


def _their_map(peer_class: str, activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    anything = nn.Conv2d(1, 1, 1)  # the peer's object wants a network; its formula does not
    with getattr(peers(), peer_class)(model=anything, target_layers=[anything]) as extractor:
        raw = extractor.get_cam_image(None, None, None, activations, gradients, eigen_smooth=False)
    positive: np.ndarray = np.maximum(np.asarray(raw)[0], 0)
    return positive


def _summed(activations: np.ndarray, gradients: np.ndarray) -> float:
    """The most that Grad-CAM sums up in a cell before positive and negative channels cancel."""
    weights = np.abs(gradients.mean(axis=(2, 3), keepdims=True))
    return float((weights * np.abs(activations)).sum(1).max())


def _facts(
    classifier: Classifier, planned: Sequence[PlannedLayer], tapped: _Tapped
) -> Iterator[LayerFact]:
    rectified = plan_layers(STAGES, classifier.layout, classifier.network, "rectified")
    layers = zip(rectified, planned, tapped.raw, tapped.grids, tapped.elsewhere, strict=True)
    for layer, raw, output, grid, elsewhere in layers:
        yield LayerFact(
            layer.name,
            layer.tap.module,
            layer.tap.sign.value,
            grid,
            _laid_out(raw.tap, output, grid),
            elsewhere,
        )


def _laid_out(tap: Tap, output: Tensor, grid: tuple[int, int]) -> str:
    if output.ndim == 3:
        return f"{tap.tokens or 0} + {math.prod(grid)} tokens"
    return "channels first" if tuple(output.shape[2:]) == grid else "channels last"


def _relative(logits: Tensor, expected: Tensor) -> float:
    scale = float(expected.abs().max()) or 1.0
    return float((logits - expected).abs().max()) / scale


def _within(value: float | None, bound: float) -> bool:
    return value is not None and math.isfinite(value) and value <= bound


def _refused(outcome: Outcome, reason: str) -> Outcome:
    return replace(outcome, reason=" ".join(reason.split()))


def is_in_table(name: str) -> bool:
    """Whether a row of the engine's own table says where it is tapped."""
    return find_architecture(name) is not None


def peers() -> Any:
    """pytorch-grad-cam, which warns when it is imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("pytorch_grad_cam")


def _target(index: int) -> Any:
    peers()
    targets = importlib.import_module("pytorch_grad_cam.utils.model_targets")
    return targets.ClassifierOutputTarget(index)


def _timm() -> Any:
    return importlib.import_module("timm")

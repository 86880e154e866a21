"""The engine: images in, explanations out, one forward and one backward pass a batch."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cam_engine.errors import InvalidOption, NonFiniteOutput, OutOfMemory
from cam_engine.images.preparing import enhance, resize_for_network, to_batch
from cam_engine.maps.network_pass import NetworkPass, Plan, normalised
from cam_engine.maps.precision import choose_precision
from cam_engine.maps.targets import (
    PlannedLayer,
    resolve_class,
)
from cam_engine.method_facts import Fusion, Method
from cam_engine.models.loading import Classifier
from cam_engine.options import CamOptions, PrecisionName
from cam_engine.results import ClassScore, Explanation, LayerMap, RgbImage

_log = logging.getLogger(__name__)

_AUTO_BATCH = {"cpu": 16, "cuda": 64}
_TOP_CLASSES = 5
# Images reduced at once on a CPU: their activations should stay in the cache between two passes.
_CPU_CHUNK = 2

Target = int | str | None
Probabilities = NDArray[np.float64]
_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class NetworkInput:
    """What the network gets of one image.

    pixels: (h, w, 3) uint8 at the network's input size, after CLAHE where it is on. plain: the same
    without CLAHE, for the class that the network would name then; None where CLAHE is off or nobody
    asks, which saves a forward pass.
    """

    pixels: RgbImage
    plain: RgbImage | None = None


class PreparedImage(NamedTuple):
    """An image ready for the network, and what it was made of.

    enhanced: the image's (H, W, 3) uint8 pixels after CLAHE; None where it is off.
    """

    network_input: NetworkInput
    enhanced: RgbImage | None


class Explainer:
    """Explains one classifier on one device.

    >>> from pathlib import Path
    >>> from cam_engine import CamOptions, Explainer, load_classifier, read_image
    >>> run = Path("sample/results/optA_20260115_090000/experiments/experiment_synthetic_lifecycle")
    >>> classifier = load_classifier(run / "cls_mobilenet_v3_small_focal" / "best.pt")
    >>> explainer = Explainer(classifier, device="cpu")
    >>> image = read_image(run / "crops_gt_crops/crops/test/schizont/cell_001.jpg")
    >>> [explanation] = explainer.explain([image], CamOptions(layers=("late",)))
    >>> explanation.predicted.name, explanation.layer("late").grid
    ('schizont', (7, 7))

    Safe to call from several threads: passes that make maps take turns, which bounds the device's
    memory to one batch. The classifier's own network is copied, never changed.
    """

    def __init__(
        self,
        classifier: Classifier,
        *,
        device: str | torch.device = "auto",
        precision: PrecisionName = "auto",
        batch_size: int | None = None,
    ) -> None:
        self.classifier = classifier
        self.device = resolve_device(device)
        stages = classifier.layout.stages
        self.precision = choose_precision(
            depthwise=classifier.depthwise,
            transformer=any(stage.tap.tokens is not None for stage in stages),
            device=self.device,
            wanted=precision,
        )
        if batch_size is not None and batch_size < 1:
            raise InvalidOption(f"batch size must be at least 1, got {batch_size}")
        self._asked_batch_size = batch_size or _AUTO_BATCH.get(self.device.type, 16)
        self._batch_size = self._asked_batch_size
        self._lock = threading.Lock()
        self._pass = NetworkPass(classifier, self.device, self.precision)

    @property
    def batch_size(self) -> int:
        """Images a pass; smaller than asked for once the device ran out of memory."""
        return self._batch_size

    @property
    def memory_bytes(self) -> int:
        """Bytes of all weights held: the classifier's own, and the copies that are run."""
        return sum(
            tensor.nbytes
            for network in (self.classifier.network, *self._pass.networks)
            for tensor in (*network.parameters(), *network.buffers())
        )

    def prepare_image(self, image: RgbImage, options: CamOptions) -> PreparedImage:
        """CLAHE and resizing of one (H, W, 3) uint8 image; needs no lock and no device."""
        preprocessing = self.classifier.preprocessing
        plain = resize_for_network(image, preprocessing)
        if not options.clahe:
            return PreparedImage(NetworkInput(plain), None)
        enhanced = enhance(image)
        pixels = resize_for_network(enhanced, preprocessing)
        return PreparedImage(NetworkInput(pixels, plain), enhanced)

    def explain(
        self,
        images: Sequence[RgbImage],
        options: CamOptions | None = None,
        targets: Sequence[Target] | None = None,
    ) -> list[Explanation]:
        """Explanations of (H, W, 3) uint8 images, in their order.

        targets: a class for each image (index, name or None for the predicted one); without it,
        `options.target` holds for all. Raises LayerNotFound, LayerNotSpatial, MethodNotPossible,
        ClassNotFound, NonFiniteOutput or OutOfMemory.
        """
        options = options or CamOptions()
        inputs = [self.prepare_image(image, options).network_input for image in images]
        return self.explain_inputs(inputs, options, targets)

    def explain_inputs(
        self,
        inputs: Sequence[NetworkInput],
        options: CamOptions,
        targets: Sequence[Target] | None = None,
    ) -> list[Explanation]:
        """As `explain`, for images that `prepare_image` has been through."""
        plan = self.plan(options)
        indices = self._target_indices(len(inputs), options, targets)
        return self._in_batches(
            list(zip(inputs, indices, strict=True)), lambda part: self._explain_part(part, plan)
        )

    def explain_each(
        self,
        inputs: Sequence[NetworkInput],
        options: CamOptions,
        targets: Sequence[Target] | None = None,
    ) -> list[Explanation | NonFiniteOutput]:
        """As `explain_inputs`, but an image that the network fails on does not fail the others.

        A batch that holds such an image is computed again one by one.
        """
        if not inputs:
            return []
        try:
            return list(self.explain_inputs(inputs, options, targets))
        except NonFiniteOutput as error:
            if len(inputs) == 1:
                return [error]
            chosen = [None] * len(inputs) if targets is None else [[target] for target in targets]
            return [
                answer
                for image, target in zip(inputs, chosen, strict=True)
                for answer in self.explain_each([image], options, target)
            ]

    def explain_batch(
        self, batch: Tensor, options: CamOptions, targets: Sequence[Target] | None = None
    ) -> list[Explanation]:
        """Explanations of one (N, 3, h, w) float32 batch that is preprocessed already.

        One pass for all N, whatever the batch size of the explainer.
        """
        plan = self.plan(options)
        indices = self._target_indices(len(batch), options, targets)
        return self._explain_tensor(batch.to(self.device), indices, plan)

    def probabilities(self, inputs: Sequence[RgbImage]) -> list[Probabilities]:
        """Softmax (classes,) float64 of each (h, w, 3) uint8 image at the network's input size."""
        return self._in_batches(inputs, self._predict_part)

    def plan(self, options: CamOptions) -> Plan:
        """Check layers against the network, before anything is computed. Raises LayerNotFound."""
        return self._pass.plan(options)

    def _target_indices(
        self, count: int, options: CamOptions, targets: Sequence[Target] | None
    ) -> list[int | None]:
        wanted = [options.target] * count if targets is None else list(targets)
        if len(wanted) != count:
            raise InvalidOption(f"{len(wanted)} targets for {count} images: give one an image")
        names = self.classifier.class_names
        return [None if target is None else resolve_class(target, names) for target in wanted]

    def _explain_part(
        self, part: Sequence[tuple[NetworkInput, int | None]], plan: Plan
    ) -> list[Explanation]:
        batch = to_batch(
            [image.pixels for image, _ in part], self.classifier.preprocessing, self.device
        )
        explanations = self._explain_tensor(batch, [index for _, index in part], plan)
        plain = [image.plain for image, _ in part if image.plain is not None]
        if not plain:
            return explanations
        rows = iter(self._predict_part(plain))
        return [
            explanation
            if image.plain is None
            else replace(explanation, unenhanced=self._top(next(rows))[0])
            for explanation, (image, _) in zip(explanations, part, strict=True)
        ]

    def _explain_tensor(
        self, batch: Tensor, targets: Sequence[int | None], plan: Plan
    ) -> list[Explanation]:
        with self._lock:
            logits, chosen, raw = self._pass.maps(batch, targets, plan)
        probabilities, explained = _probabilities(logits), chosen.tolist()
        method = plan.options.method
        layers = [
            _layer_maps(layer, method, maps, self._pass.block(layer.tap, plan, method))
            for layer, maps in zip(plan.layers, raw, strict=False)
        ]
        if plan.fused:
            label = " x ".join(layer.label for layer in plan.fused)
            fused = replace(plan.fused[0], name="fused", label=label)
            block = max(self._pass.block(layer.tap, plan, "layercam") for layer in plan.fused)
            layers.append(_layer_maps(fused, self._pass.fusion(plan), raw[-1], block))
        return [
            Explanation(self._score(row, index), self._top(row), per_image)
            for row, index, per_image in zip(
                probabilities, explained, zip(*layers, strict=True), strict=True
            )
        ]

    def _predict_part(self, inputs: Sequence[RgbImage]) -> list[Probabilities]:
        batch = to_batch(inputs, self.classifier.preprocessing, self.device)
        with torch.inference_mode():
            logits = self._pass.logits(batch)
        return list(_probabilities(logits))

    def _score(self, probabilities: Probabilities, index: int) -> ClassScore:
        return ClassScore(index, self.classifier.class_names[index], float(probabilities[index]))

    def _top(self, probabilities: Probabilities) -> tuple[ClassScore, ...]:
        order = np.argsort(-probabilities, kind="stable")[:_TOP_CLASSES]
        return tuple(self._score(probabilities, int(index)) for index in order)

    def _in_batches(
        self, items: Sequence[_Item], work: Callable[[Sequence[_Item]], list[_Answer]]
    ) -> list[_Answer]:
        """Work through the items in batches, halving them where the device runs out of memory."""
        answers: list[_Answer] = []
        while len(answers) < len(items):
            size = self._batch_size
            part = items[len(answers) : len(answers) + size]
            try:
                answers += work(part)
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error):
                    raise
                self._shrink(len(part))
        return answers

    def _shrink(self, failed: int) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if failed <= 1:
            raise OutOfMemory(
                f"{self.device} has too little memory for a single image of this network; "
                "free memory on it, or choose another device"
            )
        if self._batch_size >= self._asked_batch_size:
            _log.warning("out of memory on %s: going on with smaller batches", self.device)
        self._batch_size = min(self._batch_size, failed // 2)


def resolve_device(device: str | torch.device) -> torch.device:
    """The device by name; "auto" takes a CUDA GPU where there is one. Raises InvalidOption."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise InvalidOption(
            f"device {device!r} is unknown; use auto, cpu, cuda or cuda:N"
        ) from error
    if resolved.type == "cuda" and not torch.cuda.is_available():
        raise InvalidOption(
            f"device {device} was asked for, but there is no CUDA GPU here; use cpu"
        )
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        raise InvalidOption(
            f"device {device} was asked for, but there are only {torch.cuda.device_count()} GPUs "
            "here, counted from cuda:0"
        )
    return resolved


def _probabilities(logits: Tensor) -> Probabilities:
    """Softmax of (N, classes) logits, on the host. Raises NonFiniteOutput."""
    on_host = logits.detach().cpu()
    if not bool(torch.isfinite(on_host).all()):
        raise NonFiniteOutput(
            "the network answered with NaN or infinity; its weights are damaged, "
            "or were trained with another preprocessing"
        )
    answer: Probabilities = torch.softmax(on_host.double(), 1).numpy()
    return answer


def _layer_maps(
    layer: PlannedLayer, method: Method | Fusion, raw: Tensor, block: int
) -> list[LayerMap]:
    values, maxima = normalised(raw)
    on_host, highest = values.cpu().numpy(), maxima.tolist()
    if not np.isfinite(highest).all():
        raise NonFiniteOutput(f"layer {layer.label} gave NaN or infinity; its weights are damaged")
    return [
        LayerMap(layer.name, layer.label, method, cells, maximum, block)
        for cells, maximum in zip(on_host, highest, strict=True)
    ]


def _is_out_of_memory(error: BaseException) -> bool:
    # The CPU's allocator and CUDA's libraries raise a plain RuntimeError.
    signs = ("can't allocate memory", "CUDA error: out of memory", "_ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError) or any(sign in str(error) for sign in signs)

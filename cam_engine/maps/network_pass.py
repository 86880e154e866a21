"""One forward and one backward pass of a batch: logits, and raw maps of all layers asked for."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from cam_engine.errors import MethodNotPossible
from cam_engine.maps.attention import AttentionTap, by_keys, of_whole_images
from cam_engine.maps.methods import METHOD_FUNCTIONS, fuse
from cam_engine.maps.precision import Precision, prepare
from cam_engine.maps.reading import Reading, over_blocks, readings
from cam_engine.maps.taps import LayerTap
from cam_engine.maps.targets import PlannedLayer, plan_layers, rectified, score_of, spatial
from cam_engine.method_facts import FUSION_FACTS, METHOD_FACTS, Fusion, Method, fusion_for
from cam_engine.models.architectures import Sign, Tap
from cam_engine.models.loading import Classifier
from cam_engine.options import STAGES, CamOptions

# Images reduced at once on a CPU: their activations should stay in the cache between two passes.
_CPU_CHUNK = 2


@dataclass(frozen=True, slots=True)
class Plan:
    """What one call computes: layers to answer with, and stages that go into the fused map."""

    layers: tuple[PlannedLayer, ...]
    fused: tuple[PlannedLayer, ...]
    options: CamOptions

    @property
    def modules(self) -> list[str]:
        """Dotted names of all that is tapped, each once."""
        return list(dict.fromkeys(tap.module for tap in self._taps))

    @property
    def rectify(self) -> frozenset[str]:
        """Modules after which the network applies a ReLU, which their tap takes on."""
        return frozenset(tap.module for tap in self._taps if tap.sign is Sign.RELU_NEXT)

    @property
    def _taps(self) -> list[Tap]:
        return [layer.tap for layer in (*self.layers, *self.fused)]

    @property
    def needs_attention(self) -> bool:
        """Whether maps are made of attention."""
        return METHOD_FACTS[self.options.method].needs_attention

    @property
    def needs_gradients(self) -> bool:
        """Whether gradients of the tapped outputs are needed."""
        facts = METHOD_FACTS[self.options.method]
        return bool(self.fused) or (facts.needs_gradients and not facts.needs_attention)


class NetworkPass:
    """One classifier's network on a device, as it is run; for one thread at a time.

    The classifier's own network is copied, never changed.
    """

    def __init__(self, classifier: Classifier, device: torch.device, precision: Precision) -> None:
        self._classifier = classifier
        self._device = device
        self._precision = precision
        self.network = prepare(classifier.network, precision, device, head=classifier.head)
        self._unfolded: nn.Module | None = None
        self._readings: dict[str, Reading] = {}

    @property
    def networks(self) -> list[nn.Module]:
        """The copies that are run so far."""
        return [self.network] if self._unfolded is None else [self.network, self._unfolded]

    def plan(self, options: CamOptions) -> Plan:
        """Check layers against the network, before anything is computed. Raises LayerNotFound."""
        layout, network = self._classifier.layout, self._classifier.network
        fused = STAGES if options.fused else ()
        plan = Plan(
            tuple(plan_layers(options.layers, layout, network, options.taps)),
            tuple(plan_layers(fused, layout, network, options.taps)),
            options,
        )
        if plan.needs_attention:
            self._check_for_attention(plan)
        return plan

    def logits(self, batch: Tensor) -> Tensor:
        """(N, classes) float32 of a preprocessed batch; any thread may call it."""
        return self._forward(self.network, batch)

    def maps(
        self, batch: Tensor, targets: Sequence[int | None], plan: Plan
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Logits (N, classes), the classes explained (N,), raw maps (N, h, w), fused last.

        All on the device and, on a GPU, not necessarily computed yet: from the upload of the
        targets to the last map, nothing here waits for it.
        """
        network = self._network_for(plan)
        if plan.needs_attention:  # from the first block on, wherever layers are tapped
            batch = batch.clone().requires_grad_()
        wanted = torch.tensor(
            [-1 if target is None else target for target in targets],
            dtype=torch.long,
            device=self._device,
        )
        attention = AttentionTap()
        with torch.enable_grad(), LayerTap(network, plan.modules, plan.rectify) as tap:
            with attention if plan.needs_attention else nullcontext():
                logits = self._forward(network, batch)
            chosen = torch.where(wanted < 0, logits.argmax(1), wanted)
            score = score_of(logits, chosen, plan.options.score).sum()
            self._read(score, tap, plan)
            of_attention = self._of_attention(attention, score, tap, plan)
            gradients = tap.gradients(score) if plan.needs_gradients else tap.outputs
        with torch.no_grad():
            outputs = [output.detach() for output in tap.outputs]
            pairs = dict(zip(plan.modules, zip(outputs, gradients, strict=True), strict=True))
            method = plan.options.method
            raw = [
                _reduce(
                    method,
                    layer.tap,
                    *(here or pairs[layer.tap.module]),
                    self.block(layer.tap, plan, method),
                )
                for layer, here in zip(plan.layers, of_attention, strict=True)
            ]
            if plan.fused:
                stages = [
                    _reduce(
                        of_stage,
                        stage.tap,
                        *pairs[stage.tap.module],
                        self.block(stage.tap, plan, of_stage),
                    )
                    for of_stage, stage in zip(
                        FUSION_FACTS[self.fusion(plan)].methods, plan.fused, strict=True
                    )
                ]
                raw.append(fuse([normalised(stage)[0] for stage in stages]))
        return logits.detach(), chosen, raw

    def _read(self, score: Tensor, tap: LayerTap, plan: Plan) -> None:
        """Find out how the tapped outputs are read: one pass says it for all, by its graph."""
        if plan.needs_gradients and any(name not in self._readings for name in plan.modules):
            self._readings |= readings(score, tap.read)

    def fusion(self, plan: Plan) -> Fusion:
        """How the fused map was made; known after the pass."""
        late = self._readings[plan.fused[-1].tap.module]
        return fusion_for(plan.options.fusion, averaged=late.averaged)

    def block(self, tap: Tap, plan: Plan, method: Method) -> int:
        """Side in cells of the blocks over which gradients are averaged."""
        if plan.options.taps == "raw" or not METHOD_FACTS[method].needs_gradients:
            return 1
        return self._readings.get(tap.module, Reading()).stride

    def _of_attention(
        self, attention: AttentionTap, score: Tensor, tap: LayerTap, plan: Plan
    ) -> Sequence[tuple[Tensor, Tensor] | None]:
        """For each layer, what `_reduce` takes: gradients (N, tokens, attention layers) to its end.

        They stand for the attention too, of which no formula makes anything.
        """
        if not plan.needs_attention:
            return [None] * len(plan.layers)
        images, tokens = tap.outputs[0].shape[:2]
        kept = of_whole_images(attention.kept, images, tokens)
        if not kept:
            label = METHOD_FACTS[plan.options.method].label
            raise MethodNotPossible(_no_attention(label, self._classifier.architecture))
        gradients = torch.autograd.grad(score, kept, retain_graph=True, materialize_grads=True)
        reasons = by_keys(gradients, images)
        counts = [max(1, round((layer.depth or 1) * len(kept))) for layer in plan.layers]
        return [(reasons[..., :count], reasons[..., :count]) for count in counts]

    def _forward(self, network: nn.Module, batch: Tensor) -> Tensor:
        precision = self._precision
        if precision.channels_last:
            batch = batch.contiguous(memory_format=torch.channels_last)
        half = precision.dtype != torch.float32
        with torch.autocast(self._device.type, dtype=precision.dtype, enabled=half):
            logits: Tensor = network(batch)
        return logits.float()

    def _network_for(self, plan: Plan) -> nn.Module:
        """The folded network; where a convolution is tapped, one whose norms stand by themselves.

        Folding changes no output but a convolution's.
        """
        original = self._classifier.network
        tapped = (original.get_submodule(name) for name in plan.modules)
        if not any(isinstance(module, nn.Conv2d) for module in tapped):
            return self.network
        if self._unfolded is None:
            precision = replace(self._precision, fold_batch_norm=False)
            self._unfolded = prepare(original, precision, self._device, self._classifier.head)
        return self._unfolded

    def _check_for_attention(self, plan: Plan) -> None:
        label = METHOD_FACTS[plan.options.method].label
        stages = self._classifier.layout.stages
        if any(stage.tap.tokens is None for stage in stages):
            raise MethodNotPossible(_no_attention(label, self._classifier.architecture))
        for layer in plan.layers:
            if layer.depth is None:
                known = ", ".join(stage.label for stage in stages)
                raise MethodNotPossible(
                    f"{label} sums up blocks, and {layer.name} is no end of one: choose from "
                    f"{', '.join(STAGES)}, {known}"
                )


def _no_attention(label: str, architecture: str) -> str:
    return (
        f"{label} needs a vision transformer whose attention sees the whole image, and "
        f"{architecture} is none: choose another method"
    )


def _reduce(method: Method, tap: Tap, output: Tensor, gradient: Tensor, stride: int) -> Tensor:
    """Activations and gradients of one tap -> raw (N, h, w) maps, on the device."""
    function = METHOD_FUNCTIONS[method]
    chunk = _CPU_CHUNK if output.device.type == "cpu" else len(output)
    parts = zip(torch.split(output, chunk), torch.split(gradient, chunk), strict=True)
    return torch.cat(
        [
            function(
                rectified(spatial(a, tap), tap.sign, method), over_blocks(spatial(g, tap), stride)
            )
            for a, g in parts
        ]
    )


def normalised(raw: Tensor) -> tuple[Tensor, Tensor]:
    """(N, h, w) raw maps -> the maps over their own maximum, and the maxima (N,)."""
    maxima = raw.amax((1, 2))
    scale = torch.where(maxima > 0, maxima, torch.ones_like(maxima))
    return raw / scale[:, None, None], maxima

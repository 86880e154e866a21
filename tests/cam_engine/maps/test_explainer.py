"""The explainer, on a network small enough to know what must come out."""

from __future__ import annotations

import copy
import gc
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import psutil
import pytest
import torch
from torch import Tensor, nn

from cam_engine.errors import (
    CamError,
    ClassNotFound,
    InvalidOption,
    LayerNotFound,
    LayerNotSpatial,
    NonFiniteOutput,
    OutOfMemory,
)
from cam_engine.images.preparing import enhance
from cam_engine.maps.explainer import Explainer, resolve_device
from cam_engine.maps.precision import choose_precision, prepare
from cam_engine.method_facts import Fusion, Method
from cam_engine.options import CamOptions
from cam_engine.results import Explanation
from tests.networks import OF_ANY_NETWORK, SIDE, ThreeStages, classifier_of, small_network

PLAIN = CamOptions(clahe=False)


def pictures(count: int, seed: int = 0) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8) for _ in range(count)]


@pytest.fixture(scope="module")
def explainer() -> Explainer:
    return Explainer(classifier_of(small_network()), device="cpu", precision="float32")


def three_stages(network: nn.Module) -> ThreeStages:
    assert isinstance(network, ThreeStages)
    return network


def values(explanations: list[Explanation], layer: str) -> np.ndarray:
    return np.stack([explanation.layer(layer).values for explanation in explanations])


def hook_count(network: nn.Module) -> int:
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) + len(module._backward_hooks)
        for module in network.modules()
    )


@pytest.mark.parametrize("method", ["gradcam", "hirescam", "layercam"])
def test_late_map_is_the_classical_cam(method: Method) -> None:
    """With pooling and a linear head the CAM of Zhou et al. (2016) is known without a gradient."""
    network = small_network()
    with torch.no_grad():
        network.head.weight.abs_()  # LayerCAM drops negative weights; here there are none
    fresh = Explainer(classifier_of(network), device="cpu", precision="float32")
    images = pictures(3)
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        activations = network.late(network.mid(network.early(batch)))
        cam = torch.einsum("c,nchw->nhw", network.head.weight[1], activations) / 4
    answers = fresh.explain(images, CamOptions(method=method, clahe=False, target="ring"))
    for answer, expected in zip(answers, cam, strict=True):
        layer = answer.layer("late")
        assert layer.maximum == pytest.approx(float(expected.max()), rel=1e-5)
        np.testing.assert_allclose(layer.values, expected / expected.max(), atol=1e-5)


def test_gradients_equal_finite_differences(explainer: Explainer) -> None:
    """HiResCAM is sum_k g A: nudge each value of the mid activation and see what the logit does."""
    images = pictures(1)
    network = three_stages(copy.deepcopy(explainer.classifier.network).double())
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).double() / 255
    with torch.no_grad():
        activation = network.mid(network.early(batch))
        step = 1e-6
        nudges = torch.eye(activation.numel(), dtype=torch.float64).view(-1, *activation.shape[1:])
        rest = nn.Sequential(network.late, network.pool, nn.Flatten(), network.head)
        up, down = rest(activation + step * nudges), rest(activation - step * nudges)
        gradient = ((up - down)[:, 2] / (2 * step)).view(activation.shape)
        averaged = nn.functional.avg_pool2d(gradient, 2)  # the late stage reads by twos
        averaged = averaged.repeat_interleave(2, 2).repeat_interleave(2, 3)
        expected = (averaged * activation).sum(1).relu()[0]
    options = CamOptions(method="hirescam", target=2, clahe=False)
    layer = explainer.explain(images, options)[0].layer("mid")
    assert layer.maximum == pytest.approx(float(expected.max()), rel=1e-4)
    np.testing.assert_allclose(layer.values, expected / expected.max(), atol=1e-4)


@pytest.mark.parametrize("method", OF_ANY_NETWORK)
def test_a_batch_equals_its_singles_with_mixed_targets(
    explainer: Explainer, method: Method
) -> None:
    images = pictures(5)
    targets: list[int | str | None] = ["ring", 0, None, 2, "Gametocyte"]
    options = CamOptions(method=method, clahe=False, fused=True)
    batch = explainer.explain(images, options, targets)
    singles = [
        explainer.explain([image], options, [target])[0]
        for image, target in zip(images, targets, strict=True)
    ]
    assert [one.target.index for one in batch[:2]] == [1, 0]
    assert batch[2].target.index == batch[2].predicted.index
    assert [one.target.index for one in batch[3:]] == [2, 0]
    for layer in ("early", "mid", "late", "fused"):
        np.testing.assert_allclose(values(batch, layer), values(singles, layer), atol=2e-5)
        for one, other in zip(batch, singles, strict=True):
            assert one.layer(layer).maximum == pytest.approx(other.layer(layer).maximum, rel=1e-4)


CPU = torch.device("cpu")


class TokensAfterNorm(ThreeStages):
    """A batch norm that follows no convolution, and whose output becomes tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(6)
        self.of_tokens = nn.LayerNorm(6)

    def forward(self, batch: Tensor) -> Tensor:
        grid = self.norm(self.late(self.mid(self.early(batch))))
        tokens = self.of_tokens(grid.flatten(2).transpose(1, 2))
        logits: Tensor = self.head(tokens.mean(1))
        return logits


def test_one_image_has_the_gradients_of_two_where_a_batch_norm_makes_tokens() -> None:
    """Torch's own differ: those of one image are wrong."""
    torch.manual_seed(0)
    as_it_is = choose_precision(depthwise=False, transformer=True, device=CPU)
    unfolded = replace(as_it_is, dtype=torch.float32, fold_batch_norm=False)
    network = prepare(TokensAfterNorm().eval(), unfolded, CPU, head="head")
    image = torch.randn(1, 3, 2 * SIDE, 2 * SIDE)
    found = []
    for count in (1, 2):
        batch = image.repeat(count, 1, 1, 1).requires_grad_()
        (gradients,) = torch.autograd.grad(network(batch)[0, 1], batch)
        found.append(gradients[0])
    torch.testing.assert_close(*found)


def test_results_carry_grid_maximum_class_and_probabilities(explainer: Explainer) -> None:
    answer = explainer.explain(pictures(1), CamOptions(fused=True))[0]
    assert [layer.grid for layer in answer.layers] == [(8, 8), (4, 4), (2, 2), (8, 8)]
    assert [layer.label for layer in answer.layers][:3] == [
        "stage_early",
        "stage_mid",
        "stage_late",
    ]
    assert sum(score.probability for score in answer.top) == pytest.approx(1.0)
    assert answer.top[0].probability >= answer.top[1].probability
    assert answer.unenhanced is not None
    for layer in answer.layers:
        assert layer.values.dtype == np.float32
        assert not layer.empty
        assert layer.values.max() == pytest.approx(1.0)
        assert layer.values.min() >= 0.0


def test_layers_come_in_the_order_asked_for(explainer: Explainer) -> None:
    options = CamOptions(layers=("late", "mid.0", "early", "stage_mid"), clahe=False)
    answer = explainer.explain(pictures(1), options)[0]
    assert [layer.name for layer in answer.layers] == ["late", "mid.0", "early", "stage_mid"]
    alone = explainer.explain(pictures(1), CamOptions(layers=("early",), clahe=False))[0]
    np.testing.assert_allclose(answer.layer("early").values, alone.layer("early").values, atol=1e-6)


@pytest.mark.parametrize(("fusion", "late"), [("class-aware", "gradcam"), ("layercam", "layercam")])
def test_fused_is_the_geometric_mean_of_its_stages(
    explainer: Explainer, fusion: Fusion, late: Method
) -> None:
    images = pictures(2)
    answers = explainer.explain(images, CamOptions(fused=True, fusion=fusion, clahe=False))
    sharp = explainer.explain(
        images, CamOptions(method="layercam", layers=("early", "mid"), clahe=False)
    )
    deep = explainer.explain(images, CamOptions(method=late, layers=("late",), clahe=False))
    for answer, *parts in zip(answers, sharp, deep, strict=True):
        maps = [
            nn.functional.interpolate(
                torch.from_numpy(layer.values)[None, None], size=(8, 8), mode="bilinear"
            )[0, 0]
            for part in parts
            for layer in part.layers
        ]
        expected = (maps[0] * maps[1] * maps[2]).pow(1 / 3)
        np.testing.assert_allclose(
            answer.layer("fused").values, expected / expected.max(), atol=1e-4
        )
        assert answer.layer("fused").method == fusion


def test_an_empty_map_stays_empty_and_empties_the_fused_one() -> None:
    network = small_network()
    with torch.no_grad():
        network.head.weight[1] = -network.head.weight[1].abs()
    explainer = Explainer(classifier_of(network), device="cpu", precision="float32")
    options = CamOptions(method="layercam", target="ring", fused=True, clahe=False)
    answer = explainer.explain(pictures(1), options)[0]
    for name in ("late", "fused"):
        layer = answer.layer(name)
        assert layer.empty
        assert layer.maximum == 0.0
        assert not layer.values.any()


def test_raw_taps_take_the_block_before_its_relu(explainer: Explainer) -> None:
    images = pictures(1)
    network = three_stages(explainer.classifier.network)
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255
    block = network.early[0](batch).detach().requires_grad_()
    features = network.early[2](network.early[1](block))
    logits = network.head(network.pool(network.late(network.mid(features))).flatten(1))
    (gradient,) = torch.autograd.grad(logits.max(), block)
    expected = (gradient.mean((2, 3), keepdim=True) * block).sum(1).relu()[0].detach()
    raw = explainer.explain(images, CamOptions(method="gradcam", taps="raw", clahe=False))[0]
    np.testing.assert_allclose(raw.layer("early").values, expected / expected.max(), atol=1e-5)
    rectified = explainer.explain(images, CamOptions(method="gradcam", clahe=False))[0]
    assert np.abs(raw.layer("early").values - rectified.layer("early").values).max() > 0.01


def test_folding_batch_norm_changes_no_map_and_a_tapped_convolution_is_not_folded() -> None:
    images = pictures(4)
    folding = Explainer(classifier_of(small_network()), device="cpu", precision="float32")
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folding._pass.network.modules())
    plain = Explainer(folding.classifier, device="cpu", precision="float32")
    plain.precision = replace(plain.precision, fold_batch_norm=False)
    plain._pass.network = prepare(folding.classifier.network, plain.precision, plain.device, "head")
    for layers in (("early", "mid", "late"), ("mid.0", "mid.1")):
        options = CamOptions(layers=layers, clahe=False)
        first, second = plain.explain(images, options), folding.explain(images, options)
        for name in layers:
            np.testing.assert_allclose(values(first, name), values(second, name), atol=1e-4)


def test_bfloat16_stays_close_to_float32(explainer: Explainer) -> None:
    images = pictures(4)
    half = Explainer(explainer.classifier, device="cpu", precision="bfloat16")
    exact, coarse = explainer.explain(images, PLAIN), half.explain(images, PLAIN)
    for layer in ("early", "mid", "late"):
        assert np.abs(values(exact, layer) - values(coarse, layer)).max() < 0.1
    for one, other in zip(exact, coarse, strict=True):
        assert one.predicted.probability == pytest.approx(other.predicted.probability, abs=0.01)


def test_clahe_that_changes_the_class_is_reported() -> None:
    """The head's bias is set between the margins with and without CLAHE: the class flips."""
    (image,) = pictures(1)
    network = small_network()
    batch = torch.from_numpy(np.stack([image, enhance(image)])).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        logits = network(batch)
        margins = logits[:, 0] - logits[:, 1]
        network.head.bias.data += torch.tensor([0.0, float(margins.mean()), -100.0])
    explainer = Explainer(classifier_of(network), device="cpu", precision="float32")
    with_clahe = explainer.explain([image], CamOptions())[0]
    without = explainer.explain([image], PLAIN)[0]
    assert with_clahe.clahe_changed_class
    assert with_clahe.unenhanced is not None
    assert with_clahe.unenhanced.index == without.predicted.index != with_clahe.predicted.index
    assert not without.clahe_changed_class


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        (CamOptions(layers=("lat",)), LayerNotFound, "late"),
        (CamOptions(layers=("pool",)), LayerNotSpatial, "pool"),
        (CamOptions(layers=("head",)), LayerNotSpatial, "head"),
        (CamOptions(target="vivax"), ClassNotFound, "gametocyte, ring, schizont"),
        (CamOptions(target=3), ClassNotFound, "0 to 2"),
        (CamOptions(target=-1), ClassNotFound, "0 to 2"),
    ],
)
def test_bad_requests_name_what_there_is(
    explainer: Explainer, options: CamOptions, error: type[CamError], words: str
) -> None:
    with pytest.raises(error, match=words):
        explainer.explain(pictures(1), options)


def test_damaged_weights_are_an_error_not_a_picture() -> None:
    network = small_network()
    with torch.no_grad():
        network.get_parameter("mid.0.weight")[0, 0, 0, 0] = float("nan")
    explainer = Explainer(classifier_of(network), device="cpu", precision="float32")
    with pytest.raises(NonFiniteOutput):
        explainer.explain(pictures(1), PLAIN)


def test_devices() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    with pytest.raises(InvalidOption, match="warp"):
        resolve_device("warp")
    if not torch.cuda.is_available():
        with pytest.raises(InvalidOption, match="no CUDA GPU"):
            resolve_device("cuda:1")


def test_no_hook_and_no_memory_is_left_after_500_calls_and_exceptions() -> None:
    network = small_network()
    explainer = Explainer(classifier_of(network), device="cpu", precision="float32")
    image = pictures(1)
    bad = CamOptions(layers=("early", "head"), clahe=False)

    def call() -> None:
        explainer.explain(image, PLAIN)
        with pytest.raises(LayerNotSpatial):
            explainer.explain(image, bad)

    for _ in range(50):
        call()
    gc.collect()
    process = psutil.Process()
    before, hooks = process.memory_info().rss, hook_count(explainer._pass.network)
    for _ in range(500):
        call()
    gc.collect()
    assert hook_count(explainer._pass.network) == hooks == 0
    assert hook_count(network) == 0
    assert process.memory_info().rss - before < 16 * 2**20


def test_the_callers_network_is_not_changed() -> None:
    network = small_network()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    Explainer(classifier_of(network), device="cpu").explain(pictures(2))
    assert all(torch.equal(before[name], t) for name, t in network.state_dict().items())
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_threads_get_what_one_thread_gets(explainer: Explainer) -> None:
    methods = OF_ANY_NETWORK
    jobs = [
        (pictures(2, seed), CamOptions(method=methods[seed % 6], clahe=False, fused=seed % 2 == 0))
        for seed in range(24)
    ]
    # Two explainers of one network: hooks of one must not see the passes of the other.
    other = Explainer(explainer.classifier, device="cpu", precision="float32")
    expected = [explainer.explain(*job) for job in jobs]
    with ThreadPoolExecutor(6) as pool:
        futures = [
            pool.submit((explainer, other)[number % 2].explain, *job)
            for number, job in enumerate(jobs)
        ]
        answers = [future.result() for future in futures]
    for one, two in zip(expected, answers, strict=True):
        for first, second in zip(one, two, strict=True):
            for a, b in zip(first.layers, second.layers, strict=True):
                np.testing.assert_allclose(a.values, b.values, atol=1e-4)


class SmallDevice(nn.Module):
    """Raises what a device raises that holds only so many images."""

    def __init__(self, capacity: int, error: Exception) -> None:
        super().__init__()
        self.capacity, self.error = capacity, error

    def forward(self, batch: Tensor) -> Tensor:
        if len(batch) > self.capacity:
            raise self.error
        return batch


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_out_of_memory_halves_the_batch_once_and_goes_on(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    images = pictures(40)
    classifier = classifier_of(small_network())
    expected = Explainer(classifier, device="cpu", precision="float32").explain(images, PLAIN)
    network = small_network()
    network.early.insert(0, SmallDevice(5, error))
    explainer = Explainer(classifier_of(network), device="cpu", precision="float32", batch_size=16)
    with caplog.at_level(logging.WARNING):
        answers = explainer.explain(images, PLAIN)
    assert explainer.batch_size == 4
    np.testing.assert_allclose(values(answers, "late"), values(expected, "late"), atol=1e-4)
    assert len([r for r in caplog.records if "out of memory" in r.message]) == 1


def test_out_of_memory_at_a_single_image_is_a_clear_error() -> None:
    network = small_network()
    network.early.insert(0, SmallDevice(0, torch.OutOfMemoryError("CUDA out of memory.")))
    explainer = Explainer(classifier_of(network), device="cpu")
    with pytest.raises(OutOfMemory, match="single image"):
        explainer.explain(pictures(4), PLAIN)


def test_other_runtime_errors_are_not_swallowed() -> None:
    network = small_network()
    network.early.insert(0, SmallDevice(0, RuntimeError("shape mismatch")))
    explainer = Explainer(classifier_of(network), device="cpu")
    with pytest.raises(RuntimeError, match="shape mismatch"):
        explainer.explain(pictures(1), PLAIN)


class Fragile(ThreeStages):
    """Fails on images that hold white, as half precision does on what is too large for it."""

    def forward(self, batch: Tensor) -> Tensor:
        white = batch.amax((1, 2, 3)) >= 1
        return torch.where(white[:, None], torch.nan, super().forward(batch))


@pytest.fixture
def fragile() -> Explainer:
    network = Fragile()
    network.load_state_dict(small_network().state_dict())
    return Explainer(classifier_of(network.eval()), device="cpu", precision="float32")


def dark(count: int) -> list[np.ndarray]:
    return [np.minimum(picture, 250) for picture in pictures(count)]


def test_an_image_that_the_network_fails_on_does_not_fail_the_others(fragile: Explainer) -> None:
    images = dark(4)
    images[1] = images[1] | 255
    prepared = [fragile.prepare_image(image, PLAIN).network_input for image in images]
    targets: list[int | str | None] = ["ring", 0, 2, None]
    answers = fragile.explain_each(prepared, PLAIN, targets)
    assert [isinstance(one, NonFiniteOutput) for one in answers] == [False, True, False, False]
    expected = fragile.explain([images[0], images[2], images[3]], PLAIN, ["ring", 2, None])
    for answer, wanted in zip((answers[0], answers[2], answers[3]), expected, strict=True):
        assert isinstance(answer, Explanation)
        assert answer.target.index == wanted.target.index
        for layer in ("early", "mid", "late"):
            np.testing.assert_allclose(
                answer.layer(layer).values, wanted.layer(layer).values, atol=1e-5
            )


def test_the_options_target_holds_for_those_that_are_computed_again(fragile: Explainer) -> None:
    options = CamOptions(clahe=False, target="schizont", layers=("late",))
    images = dark(2)
    images[0] = images[0] | 255
    prepared = [fragile.prepare_image(image, options).network_input for image in images]
    failed, answer = fragile.explain_each(prepared, options)
    assert isinstance(failed, NonFiniteOutput)
    assert isinstance(answer, Explanation)
    assert (answer.target.name, len(answer.layers)) == ("schizont", 1)
    (alone,) = fragile.explain_each(prepared[:1], options)
    assert isinstance(alone, NonFiniteOutput)
    assert fragile.explain_each([], options) == []


def test_where_none_fails_a_batch_is_one_pass(fragile: Explainer) -> None:
    passes: list[int] = []
    network = fragile._pass.network
    network.register_forward_hook(lambda _module, args, _out: passes.append(len(args[0])))
    prepared = [fragile.prepare_image(image, PLAIN).network_input for image in dark(5)]
    assert len(fragile.explain_each(prepared, PLAIN)) == 5
    assert passes == [5]


def test_a_tensor_is_explained_in_one_pass_as_its_images_are() -> None:
    explainer = Explainer(
        classifier_of(small_network()), device="cpu", precision="float32", batch_size=2
    )
    passes: list[int] = []
    explainer._pass.network.register_forward_hook(
        lambda _m, args, _out: passes.append(len(args[0]))
    )
    images = pictures(5)
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255
    targets: list[int | str | None] = [0, "ring", None, 2, 1]
    answers = explainer.explain_batch(batch, CamOptions(clahe=False, fused=True), targets)
    assert passes == [5]
    expected = explainer.explain(images, CamOptions(clahe=False, fused=True), targets)
    for answer, wanted in zip(answers, expected, strict=True):
        assert answer.target.index == wanted.target.index
        assert answer.unenhanced is None
        for one, other in zip(answer.layers, wanted.layers, strict=True):
            np.testing.assert_allclose(one.values, other.values, atol=1e-5)
    with pytest.raises(InvalidOption, match="2 targets for 5 images: give one an image"):
        explainer.explain_batch(batch, PLAIN, [0, 1])


def test_probabilities_are_the_softmax_of_what_the_network_answers(explainer: Explainer) -> None:
    images = pictures(20)
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        logits = explainer.classifier.network(batch).numpy().astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    found = explainer.probabilities(images)
    assert {one.dtype for one in found} == {np.dtype(np.float64)}
    np.testing.assert_allclose(np.stack(found), expected, atol=1e-5)
    assert explainer.probabilities([]) == []


@pytest.mark.parametrize("size", [0, -3])
def test_batches_have_at_least_one_image(size: int) -> None:
    with pytest.raises(InvalidOption) as refused:
        Explainer(classifier_of(small_network()), device="cpu", batch_size=size)
    assert str(refused.value) == f"batch size must be at least 1, got {size}"
    one = Explainer(classifier_of(small_network()), device="cpu", batch_size=1)
    assert one.batch_size == 1
    assert Explainer(classifier_of(small_network()), device="cpu").batch_size == 16


def test_two_images_that_do_not_fit_are_tried_one_by_one(caplog: pytest.LogCaptureFixture) -> None:
    network = small_network()
    network.early.insert(0, SmallDevice(1, torch.OutOfMemoryError("CUDA out of memory.")))
    explainer = Explainer(classifier_of(network), device="cpu", precision="float32", batch_size=2)
    assert len(explainer.explain(pictures(3), PLAIN)) == 3
    assert explainer.batch_size == 1
    assert caplog.messages == ["out of memory on cpu: going on with smaller batches"]


def test_one_that_does_not_fit_says_what_to_do() -> None:
    network = small_network()
    network.early.insert(0, SmallDevice(0, RuntimeError("CUDA error: out of memory")))
    explainer = Explainer(classifier_of(network), device="cpu", precision="float32")
    with pytest.raises(OutOfMemory) as refused:
        explainer.explain(pictures(1), PLAIN)
    assert str(refused.value) == (
        "cpu has too little memory for a single image of this network; "
        "free memory on it, or choose another device"
    )


@pytest.mark.parametrize("words", ["CUDNN_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_ALLOC_FAILED"])
def test_what_libraries_of_cuda_say_of_memory_is_known(words: str) -> None:
    network = small_network()
    network.early.insert(0, SmallDevice(0, RuntimeError(words)))
    with pytest.raises(OutOfMemory):
        Explainer(classifier_of(network), device="cpu").explain(pictures(1), PLAIN)


def test_a_device_that_is_not_here_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidOption) as unknown:
        resolve_device("gpu")
    assert str(unknown.value) == "device 'gpu' is unknown; use auto, cpu, cuda or cuda:N"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == resolve_device("cpu") == torch.device("cpu")
    with pytest.raises(InvalidOption) as none:
        resolve_device("cuda:0")
    assert str(none.value) == "device cuda:0 was asked for, but there is no CUDA GPU here; use cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("auto") == torch.device("cuda")
    assert resolve_device("cuda") == torch.device("cuda")
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(InvalidOption) as further:
        resolve_device("cuda:2")
    assert str(further.value) == (
        "device cuda:2 was asked for, but there are only 2 GPUs here, counted from cuda:0"
    )


def test_a_prepared_image_keeps_what_pictures_are_drawn_of(explainer: Explainer) -> None:
    (image,) = pictures(1)
    with_clahe = explainer.prepare_image(image, CamOptions())
    assert with_clahe.network_input.plain is not None
    assert with_clahe.enhanced is not None
    np.testing.assert_array_equal(with_clahe.enhanced, enhance(image))
    plain = explainer.prepare_image(image, PLAIN)
    assert (plain.enhanced, plain.network_input.plain) == (None, None)


def test_raw_taps_of_half_precision_are_near_those_of_float32(explainer: Explainer) -> None:
    """A tapped convolution has a network of its own, whose norms are not folded."""
    half = Explainer(classifier_of(small_network()), device="cpu", precision="bfloat16")
    options = CamOptions(taps="raw", clahe=False)
    images = pictures(2)
    coarse, exact = half.explain(images, options), explainer.explain(images, options)
    for layer in ("early", "mid", "late"):
        assert np.abs(values(coarse, layer) - values(exact, layer)).mean() < 0.05


def test_what_damaged_weights_answer_is_said_in_words(fragile: Explainer) -> None:
    white = np.full((SIDE, SIDE, 3), 255, np.uint8)
    with pytest.raises(NonFiniteOutput) as failed:
        fragile.explain([white], PLAIN)
    assert str(failed.value) == (
        "the network answered with NaN or infinity; its weights are damaged, "
        "or were trained with another preprocessing"
    )

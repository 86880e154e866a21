from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cam_engine.maps.precision import (
    choose_precision,
    multiplies_bfloat16,
    prepare,
)
from cam_engine.options import PrecisionName
from tests.networks import small_network

CONVOLUTIONS: Any = torch.backends.cudnn.conv  # type: ignore[attr-defined]  # torch leaves it untyped
CPU, GPU = torch.device("cpu"), torch.device("cuda")
DENSE = {"depthwise": False, "transformer": False}
DEPTHWISE = {"depthwise": True, "transformer": False}
TRANSFORMER = {"depthwise": False, "transformer": True}


@pytest.fixture
def torch_default() -> Iterator[None]:
    before = CONVOLUTIONS.fp32_precision
    CONVOLUTIONS.fp32_precision = "tf32"
    yield
    CONVOLUTIONS.fp32_precision = before


@pytest.fixture
def ampere(torch_default: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))


def chosen(kind: dict[str, bool], device: torch.device, wanted: PrecisionName = "auto") -> str:
    return choose_precision(wanted=wanted, device=device, **kind).describe()


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="needs the kernel's own list")
def test_bfloat16_is_native_where_the_kernel_lists_it() -> None:
    flags = Path("/proc/cpuinfo").read_text().split()
    assert multiplies_bfloat16(CPU) == ("avx512_bf16" in flags or "amx_bf16" in flags)


def test_on_a_cpu_only_dense_networks_run_in_bfloat16_and_only_where_it_is_native() -> None:
    dense = "bfloat16" if multiplies_bfloat16(CPU) else "float32"
    assert chosen(DENSE, CPU) == f"{dense}, channels_last, conv-bn folded"
    assert chosen(DEPTHWISE, CPU) == "float32, channels_last, conv-bn folded"
    assert chosen(TRANSFORMER, CPU) == "float32, conv-bn folded"


@pytest.mark.parametrize("kind", [DENSE, DEPTHWISE, TRANSFORMER])
@pytest.mark.parametrize("device", [CPU, GPU])
@pytest.mark.usefixtures("ampere")
def test_what_is_asked_for_overrules_it(kind: dict[str, bool], device: torch.device) -> None:
    assert chosen(kind, device, "float32").startswith("float32")
    assert chosen(kind, device, "bfloat16").startswith("bfloat16")


@pytest.mark.usefixtures("ampere")
def test_a_gpu_keeps_float32_with_tf32_convolutions() -> None:
    for kind in (DENSE, DEPTHWISE, TRANSFORMER):
        assert chosen(kind, GPU).startswith("float32, TF32 convolutions")
    assert "TF32" not in chosen(DENSE, GPU, "bfloat16")


@pytest.mark.usefixtures("ampere")
def test_an_older_gpu_has_no_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    assert chosen(DENSE, GPU) == "float32, channels_last, conv-bn folded"


@pytest.mark.usefixtures("ampere")
def test_tf32_switched_off_is_not_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    CONVOLUTIONS.fp32_precision = "ieee"
    assert "TF32" not in chosen(DENSE, GPU)
    CONVOLUTIONS.fp32_precision = "tf32"
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    assert "TF32" not in chosen(DENSE, GPU)


@pytest.mark.parametrize(("name", "dtype"), [("bfloat16", torch.bfloat16), ("float32", None)])
def test_weights_are_held_in_the_precision_but_for_the_head(
    name: PrecisionName, dtype: torch.dtype | None
) -> None:
    network = small_network()
    precision = choose_precision(depthwise=False, transformer=False, device=CPU, wanted=name)
    prepared = prepare(network, precision, CPU, head="head")
    kinds = {
        type(module): module.weight.dtype
        for module in prepared.modules()
        if hasattr(module, "weight")
    }
    assert kinds == {torch.nn.Conv2d: dtype or torch.float32, torch.nn.Linear: torch.float32}
    assert not any(parameter.requires_grad for parameter in prepared.parameters())
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    weight = prepared.get_parameter("early.0.weight")
    assert weight.is_contiguous(memory_format=torch.channels_last)


class WithDepth(nn.Module):
    """A 3-D convolution inside, as lambda layers have."""

    def __init__(self) -> None:
        super().__init__()
        self.flat = nn.Conv2d(3, 4, 3)
        self.deep = nn.Conv3d(1, 2, (1, 3, 3))
        self.head = nn.Linear(8, 2)

    def forward(self, batch: Tensor) -> Tensor:
        volume = self.deep(self.flat(batch)[:, None])
        logits: Tensor = self.head(volume.mean((3, 4)).flatten(1))
        return logits


def test_weights_of_three_dimensions_stay_as_they_are() -> None:
    network = WithDepth().eval()
    batch = torch.rand(2, 3, 12, 12)
    expected = network(batch)
    rule = choose_precision(depthwise=False, transformer=False, device=CPU, wanted="float32")
    prepared = prepare(network, rule, CPU, head="head")
    torch.testing.assert_close(prepared(batch), expected, atol=1e-5, rtol=1e-5)
    flat = prepared.get_submodule("flat").weight
    assert isinstance(flat, Tensor)
    assert flat.is_contiguous(memory_format=torch.channels_last)

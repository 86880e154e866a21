"""What formulas are given: rectified activations where they need them."""

from __future__ import annotations

import pytest
import torch

from cam_engine.maps.targets import rectified
from cam_engine.method_facts import Method
from cam_engine.models.architectures import Sign
from cam_engine.options import METHODS

ACTIVATIONS = torch.tensor([[[[-1.0, 2.0]]]])


@pytest.mark.parametrize("method", METHODS)
def test_signed_activations_are_rectified_for_formulas_that_were_derived_so(method: Method) -> None:
    """Grad-CAM++ (Chattopadhay et al. 2018, sec. 3.2) and LayerCAM (Jiang et al. 2021, eq. 5)."""
    answer = rectified(ACTIVATIONS, Sign.SIGNED, method)
    needs = method in {"gradcam++", "layercam"}
    expected = torch.tensor([[[[0.0, 2.0]]]]) if needs else ACTIVATIONS
    torch.testing.assert_close(answer, expected)


@pytest.mark.parametrize("sign", [sign for sign in Sign if sign is not Sign.SIGNED])
def test_what_the_tap_rectified_is_left_alone(sign: Sign) -> None:
    assert rectified(ACTIVATIONS, sign, "gradcam++") is ACTIVATIONS

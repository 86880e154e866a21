"""What modules answer with, of which there is one tensor or none."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cam_engine.models.module_outputs import tensor_of, with_tensor

CELLS = torch.ones(1, 2, 3)


@pytest.mark.parametrize(
    "output",
    [CELLS, (CELLS,), (CELLS, None), (CELLS, None, "said"), (CELLS, (CELLS, CELLS))],
    ids=["itself", "alone", "beside nothing", "beside text", "beside a tuple"],
)
def test_the_one_tensor_is_taken(output: object) -> None:
    assert tensor_of(output) is CELLS


@pytest.mark.parametrize(
    "output",
    [None, (), (None, CELLS), (CELLS, CELLS), (CELLS, None, CELLS), [CELLS], {"x": CELLS}],
    ids=["none", "empty", "second", "two", "two apart", "list", "dict"],
)
def test_where_none_or_several_are_there_none_is_taken(output: object) -> None:
    assert tensor_of(output) is None


def test_attention_answers_with_one_tensor_unless_its_weights_are_asked_for() -> None:
    attention = nn.MultiheadAttention(4, 2, batch_first=True)
    tokens = torch.randn(1, 5, 4)
    output = attention(tokens, tokens, tokens, need_weights=False)
    assert tensor_of(output) is output[0]
    assert tensor_of(attention(tokens, tokens, tokens)) is None


def test_another_tensor_takes_its_place_and_the_rest_stays() -> None:
    other = torch.zeros(1, 2, 3)
    assert with_tensor(CELLS, other) is other
    replaced = with_tensor((CELLS, None, "said"), other)
    assert isinstance(replaced, tuple)
    assert replaced[0] is other
    assert replaced[1:] == (None, "said")

"""Graphs of autograd, of formulas short enough to see their ways."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from cam_engine.models.architectures import Sign
from cam_engine.models.tracing.graph import Graph, reach_logits, sign_of
from cam_engine.models.tracing.grids import Output

pytestmark = pytest.mark.usefixtures("one_thread")


def image() -> Tensor:
    return torch.linspace(-1, 1, 6).reshape(1, 6).requires_grad_()


def of(tensor: Tensor, tokens: int | None = None) -> Output:
    return Output("layer", tensor, (1, 1), tokens, None)


def test_each_way_from_the_image_leads_through_a_waist_and_not_through_one_of_two_arms() -> None:
    start = image()
    before = start * 2
    left, right = before.sin(), before.cos()
    after = left + right
    logits = after * 3
    graph = Graph(logits, start)
    assert [graph.is_passed_by_all(t.grad_fn) for t in (before, after, logits)] == [True] * 3
    assert [graph.is_passed_by_all(t.grad_fn) for t in (left, right)] == [False] * 2


def test_what_is_not_of_the_image_or_not_of_the_logits_is_passed_by_no_way() -> None:
    start = image()
    weight = nn.Parameter(torch.ones(6))
    scaled = weight * 2
    before = start + scaled
    dead_end = before.sin()
    graph = Graph(before * 3, start)
    assert graph.is_passed_by_all(before.grad_fn)
    assert not graph.is_passed_by_all(scaled.grad_fn)
    assert not graph.is_passed_by_all(dead_end.grad_fn)
    assert not graph.is_passed_by_all(None)


def test_more_ways_than_numbers_hold_are_counted_and_long_graphs_end_nothing() -> None:
    """Two to the power of 200 ways; a step at a time would never end."""
    start = image()
    waists = [start * 1]
    for _ in range(200):
        waists.append(waists[-1] + waists[-1].sin())
    graph = Graph(waists[-1] * 2, start)
    assert all(graph.is_passed_by_all(waist.grad_fn) for waist in waists)
    past = Graph(waists[-1] + waists[50], start)
    assert past.is_passed_by_all(waists[50].grad_fn)
    assert not past.is_passed_by_all(waists[51].grad_fn)
    long = start * 1
    for _ in range(3000):
        long = long * 1
    assert Graph(long, start).is_passed_by_all(long.grad_fn)


def test_only_outputs_that_logits_depend_on_reach_them() -> None:
    start = image()
    read = start * 2
    unread, constant = start * 3, torch.ones(1, 6)
    outputs = [of(read), of(unread), of(constant)]
    assert reach_logits(read * 4, outputs) == outputs[:1]
    assert reach_logits(torch.ones(1, 6), outputs) == []
    assert reach_logits(read * 4, []) == []


def test_tokens_reach_logits_by_those_of_the_grid() -> None:
    """Of a block behind which only the class token is read, nothing is known of the image."""
    before = torch.ones(1, 5, 2, requires_grad=True) * 2
    after = before + before.mean(1, keepdim=True)
    outputs = [of(before, tokens=1), of(after, tokens=1)]
    assert reach_logits(after[:, 0], outputs) == outputs[:1]
    assert reach_logits(after[:, 1], outputs) == outputs


def test_where_no_gradient_tells_the_graph_does() -> None:
    """As of a head that begins with zeros, or without numbers."""
    start = image()
    read, unread = start * 2, start * 3
    outputs = [of(read), of(unread)]
    assert reach_logits(read * 0, outputs) == outputs[:1]
    bare = torch.ones(1, 6, device="meta", requires_grad=True)
    outputs = [of(bare * 2), of(bare * 3)]
    assert reach_logits(outputs[1].tensor * 4, outputs) == outputs[1:]


def test_gradients_of_several_classes_do_not_cancel() -> None:
    """As those of logits do that are a number and its negative."""
    cells = image() * 2
    outputs = [of(cells)]
    logits = torch.stack([cells[0, 0], -cells[0, 0]])[None]
    other = torch.ones(1, 6, requires_grad=True) * 1
    both = [*outputs, of(other)]
    assert reach_logits(logits + other[:, :2], both) == both


NONNEGATIVE, RELU_NEXT, SIGNED = Sign.NONNEGATIVE, Sign.RELU_NEXT, Sign.SIGNED
Steps = Callable[[Tensor], Tensor]


@pytest.mark.parametrize(
    ("make", "use", "sign"),
    [
        (nn.ReLU(), nn.Tanh(), NONNEGATIVE),
        (nn.ReLU6(), nn.Tanh(), NONNEGATIVE),
        (nn.Threshold(0, 0), nn.Tanh(), NONNEGATIVE),
        (lambda cells: cells.relu().clone(), nn.Tanh(), NONNEGATIVE),
        (lambda cells: cells.relu() + 1, nn.Tanh(), SIGNED),
        (nn.Tanh(), nn.ReLU(), RELU_NEXT),
        (nn.Tanh(), lambda cells: cells.clone().relu_(), RELU_NEXT),
        (nn.Tanh(), nn.ReLU6(), RELU_NEXT),
        (nn.Tanh(), lambda cells: cells.relu() + cells, SIGNED),
        (nn.Tanh(), lambda cells: cells.sin() + cells.relu(), SIGNED),
        (nn.Tanh(), lambda cells: cells.relu() + cells.sin(), SIGNED),
        (nn.Tanh(), nn.GELU(), SIGNED),
        (nn.SiLU(), nn.Tanh(), SIGNED),
    ],
)
def test_the_sign_is_by_the_relu_before_or_after(make: Steps, use: Steps, sign: Sign) -> None:
    start = image()
    cells = make(start * 2)
    assert sign_of(cells.grad_fn, Graph(use(cells), start)) is sign


def test_what_ends_the_graph_is_signed() -> None:
    start = image()
    logits = start * 2
    assert sign_of(logits.grad_fn, Graph(logits, start)) is SIGNED

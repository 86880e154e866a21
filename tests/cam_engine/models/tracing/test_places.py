"""Whether cells lie as in the image: the part that is changed is seen there, or elsewhere."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from cam_engine.models.tracing.grids import Output
from cam_engine.models.tracing.passes import noise, run
from cam_engine.models.tracing.places import (
    changes_in_place,
    changes_of,
    in_order,
    share_in_place,
)

pytestmark = pytest.mark.usefixtures("one_thread")

SIDE = 64
# Of ten cells a side, the part that is changed is that from 2 to 3 down and 6 to 7 across.
ROWS, COLUMNS = slice(2, 4), slice(6, 8)


def changed(*, there: float, elsewhere: float) -> Tensor:
    cells = torch.full((10, 10), elsewhere)
    cells[ROWS, COLUMNS] = there
    return cells


def test_the_share_is_of_cells_elsewhere_that_changed_less() -> None:
    assert share_in_place(changed(there=1, elsewhere=0)) == 1
    assert share_in_place(changed(there=0, elsewhere=1)) == 0
    half = changed(there=1, elsewhere=0)
    half[:5][half[:5] == 0] = 2  # 46 of the 96 elsewhere
    assert share_in_place(half) == pytest.approx(50 / 96)
    spoilt = changed(there=1, elsewhere=0)
    spoilt[9, 0] = 1e9
    assert share_in_place(spoilt) == pytest.approx(95 / 96)


def test_axes_are_told_from_each_other() -> None:
    assert share_in_place(changed(there=1, elsewhere=0).T) < 0.01


@pytest.mark.parametrize(
    ("cells", "is_there"),
    [
        (changed(there=1, elsewhere=0), True),
        (changed(there=1, elsewhere=0).roll((1, 1), (0, 1)), True),  # by padding
        (changed(there=1, elsewhere=0).T, False),
        (changed(there=1, elsewhere=0).roll((5, -6), (0, 1)), False),
        (torch.ones(10, 10), True),  # attention that looks everywhere
        (torch.full((10, 10), math.nan), True),
    ],
    ids=["there", "a cell off", "turned", "moved", "alike", "damaged"],
)
def test_changes_are_there_unless_they_are_seen_elsewhere(cells: Tensor, *, is_there: bool) -> None:
    assert changes_in_place(cells) is is_there


class Cells(nn.Module):
    """Cells of 8 px: as they lie, turned by half a circle, and with channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.Conv2d(3, 4, 8, stride=8)
        self.flipped = nn.BatchNorm2d(4)
        self.last = nn.Linear(4, 8)
        self.head = nn.Linear(8, 2)

    def forward(self, images: Tensor) -> Tensor:
        cells = self.flipped(self.cells(images).flip((2, 3)))
        last = self.last(cells.flip((2, 3)).permute(0, 2, 3, 1))
        logits: Tensor = self.head(last.mean((1, 2)))
        return logits


def traced(size: tuple[int, int] = (SIDE, SIDE)) -> tuple[nn.Module, Tensor, list[Output]]:
    torch.manual_seed(0)
    network = Cells().eval()
    image = noise(network, size, seed=0)
    return network, image, run(network, image)[1]


def test_a_change_of_the_image_is_seen_in_its_cells_alone() -> None:
    network, image, outputs = traced()
    before = {output.module: output.tensor for output in outputs}
    changes = changes_of(network, image, before)
    for module, cells in (("cells", changes["cells"]), ("flipped", changes["flipped"].flip(2, 3))):
        rows, columns = cells[0].sum(0).nonzero().T
        assert set(rows.tolist()) == {1, 2}, module  # around 0.3 and 0.7 of 8 cells
        assert set(columns.tolist()) == {5, 6}, module
    assert all((change >= 0).all() for change in changes.values())


def test_outputs_whose_cells_lie_elsewhere_are_left_out() -> None:
    network, image, outputs = traced()
    assert [(one.module, one.channels) for one in outputs] == [
        ("cells", None),
        ("flipped", None),
        ("last", None),  # eight cells each way, and eight channels
        ("last", 8),
    ]
    placed = in_order(network, image, outputs)
    assert [(one.module, one.channels) for one in placed] == [("cells", None), ("last", 8)]


def test_without_numbers_all_are_taken_as_they_come() -> None:
    torch.manual_seed(0)
    network = Cells().eval().to("meta")
    image = noise(network, (SIDE, SIDE), seed=0)
    placed = in_order(network, image, run(network, image)[1])
    assert [(one.module, one.channels) for one in placed] == [
        ("cells", None),
        ("flipped", None),
        ("last", None),
    ]


class Growing(nn.Module):
    """Answers with more tokens each time, as samplers do that look at the image."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 10

    def forward(self, images: Tensor) -> Tensor:
        self.count += 1
        return images.new_zeros(1, self.count, 2)


def test_outputs_whose_shape_depends_on_the_image_are_not_compared() -> None:
    network = nn.Sequential(Growing(), nn.Flatten())
    image = noise(network, (SIDE, SIDE), seed=0)
    before = {"0": network[0](image)}
    assert changes_of(network, image, before) == {}
    output = Output("0", before["0"], (3, 3), 2, None)
    assert in_order(network, image, [output]) == []

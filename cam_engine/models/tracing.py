"""Where a network without a row in the table is tapped, found by running it once.

One pass keeps the output of every module; the graph that autograd builds says which of them reach
the logits, which of them all that is known of the image goes through, and whether a ReLU made them
or comes next. A second pass, with one part of the image changed, says whose cells lie where their
part of the image lies: tokens may be in any order. Early, mid and late are the last modules whose
grids have about an eighth, a sixteenth and a thirty-second of the image's sides.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from cam_engine.errors import ArchitectureUnknown, InvalidOption
from cam_engine.models.architectures import Layout, Sign, Stage, Tap
from cam_engine.models.module_outputs import tensor_of, with_tensor

_LEVELS = {"early": 8, "mid": 16, "late": 32}  # pixels a cell
_TOLERANCE = 0.42  # of log2 of the pixels a cell: 299 px give 35, 17 and 8 cells
_FINEST, _COARSEST = 3, 64  # pixels a cell of what may be tapped
_MOST_PREFIX_TOKENS = 16
_LEAST_BLOCKS = 4
_RGB = 3
_CHANGED = (0.3, 0.7)  # where the middle of the part of the image that is changed is, (y, x) of 1
_CHANGED_SIDE = 1 / 8  # of the image's
_IN_ORDER = 0.75  # of pairs of cells; by chance it is half of them
_ALIKE = 0.5  # of what the cells that changed most have changed
_PASSED_THROUGH = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d)
_NODES_OF_RELU = frozenset({"ReluBackward0", "ThresholdBackward0", "HardtanhBackward0"})
_NODES_OF_COPIES = frozenset({"CloneBackward0", "AliasBackward0"})
_NUMBERED = re.compile(r"(?P<list>.*?)(?P<number>\d+)")
_PRIME = (1 << 61) - 1


@dataclass(frozen=True, slots=True)
class _Output:
    """A module's output as it can be tapped.

    grid: (h, w) cells. tokens, channels: as in `Tap`. is_container: other modules are in it.
    """

    module: str
    tensor: Tensor
    grid: tuple[int, int]
    tokens: int | None
    channels: int | None
    is_container: bool = False

    @property
    def rank(self) -> tuple[int, bool]:
        """Whole stages before their parts."""
        return self.module.count("."), not self.is_container


def traced_layout(
    network: nn.Module, input_size: tuple[int, int], recorded: Layout | None = None
) -> Layout:
    """The layout of a network in eval mode, for images of (height, width) pixels.

    recorded: what its library records of its stages, which is taken where early, mid and late have
    a grid and reach the logits. Raises ArchitectureUnknown where nothing does, and InvalidOption
    where the network does not run on images of that size.
    """
    image = _noise(network, input_size, seed=0).requires_grad_()
    logits, outputs = _run(network, image)
    reached = _in_order(network, image, _reached(logits, outputs))
    graph = _Graph(logits, image)
    passed = [one for one in reached if graph.is_passed_by_all(one.tensor.grad_fn)]
    by_module = {one.module: one for one in reached}
    if recorded is not None and _holds(recorded, by_module):
        return _confirmed(recorded, by_module, graph)
    chosen = _by_level(passed, input_size) or _by_level(reached, input_size)
    chosen = chosen or _by_grid(passed) or _by_depth(passed) or _by_depth(reached)
    if chosen is None:
        raise ArchitectureUnknown(
            f"{type(network).__name__} has no three modules whose outputs reach the logits and "
            "are a grid of cells that lie as in the image: nothing can be mapped onto it"
        )
    stages = tuple(_stage(one, graph) for one in chosen)
    return Layout(stages, *(stage.label for stage in stages))


def layout_of(layers: Mapping[str, str], network: nn.Module, input_size: tuple[int, int]) -> Layout:
    """The layout of which early, mid and late are known by their modules.

    layers: "early", "mid" and "late" -> dotted name. Raises ArchitectureUnknown where one is
    missing or has no grid, and InvalidOption as `traced_layout`.
    """
    image = _noise(network, input_size, seed=0).requires_grad_()
    logits, outputs = _run(network, image)
    wanted = [output for output in outputs if output.module in layers.values()]
    by_module = {one.module: one for one in _in_order(network, image, wanted)}
    missing = [name for name in _LEVELS if layers.get(name) not in by_module]
    if missing:
        raise ArchitectureUnknown(
            f"{type(network).__name__}: {missing[0]} is {layers.get(missing[0])!r}, which is no "
            "module whose output has a grid of cells that lie as in the image"
        )
    graph = _Graph(logits, image)
    stages = tuple(_stage(by_module[layers[name]], graph) for name in _LEVELS)
    return Layout(stages, *(stage.label for stage in stages))


def _holds(layout: Layout, outputs: Mapping[str, _Output]) -> bool:
    wanted = {layout.early, layout.mid, layout.late}
    modules = [stage.tap.module for stage in layout.stages if stage.label in wanted]
    return all(module in outputs for module in modules)


def _confirmed(layout: Layout, outputs: Mapping[str, _Output], graph: _Graph) -> Layout:
    """The recorded stages as they were seen to be; those that have no grid are left out."""
    seen = [
        replace(stage, tap=_stage(outputs[stage.tap.module], graph).tap)
        for stage in layout.stages
        if stage.tap.module in outputs
    ]
    return replace(layout, stages=tuple(seen))


def _noise(network: nn.Module, input_size: tuple[int, int], seed: int) -> Tensor:
    """One image (1, 3, h, w), on the network's device."""
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, _RGB, *input_size, generator=generator).to(device)


def _run(network: nn.Module, image: Tensor) -> tuple[Tensor, list[_Output]]:
    """Logits (1, classes) of the image, and the outputs with a grid, as they were finished."""
    kept: dict[str, Tensor] = {}

    def keep(name: str, output: Tensor) -> Tensor:
        kept.pop(name, None)
        kept[name] = output
        return output.clone()  # what comes next may write into it

    names = [
        name
        for name, module in network.named_modules()
        if name and not isinstance(module, _PASSED_THROUGH)
    ]
    input_size = image.shape[2], image.shape[3]
    try:
        with _watched(network, names, keep), torch.enable_grad():
            logits: object = network(image)
    except (AssertionError, IndexError, RuntimeError, ValueError) as error:
        said = str(error).partition("\n")[0] or type(error).__name__
        raise InvalidOption(
            f"{type(network).__name__} takes no images of "
            f"{input_size[0]}x{input_size[1]} px: {said}"
        ) from error
    if not isinstance(logits, Tensor) or logits.ndim != len(("image", "class")):
        raise ArchitectureUnknown(
            f"{type(network).__name__} does not answer with logits (images, classes)"
        )
    found = (_output(name, tensor, input_size) for name, tensor in kept.items())
    containers = {name for name, module in network.named_modules() if [*module.children()]}
    return logits, [
        replace(one, is_container=one.module in containers) for one in found if one is not None
    ]


@contextmanager
def _watched(
    network: nn.Module, names: Sequence[str], watch: Callable[[str, Tensor], Tensor | None]
) -> Iterator[None]:
    """Calls watch(name, output) for each of the modules that answers with a grid or tokens.

    What it returns, if anything, goes on in place of the output.
    """

    def hook(name: str, output: object) -> object:
        tensor = tensor_of(output)
        if tensor is None or tensor.ndim not in (3, 4):
            return None
        instead = watch(name, tensor)
        return None if instead is None else with_tensor(output, instead)

    handles = [
        network.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output, name=name: hook(name, output)
        )
        for name in names
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _reached(logits: Tensor, outputs: Sequence[_Output]) -> list[_Output]:
    """Those whose cells the logits depend on: a class token's block may leave all others out.

    Where no gradient has a number, as of a head of zeros, or all have none: what the graph says.
    """
    wanted = [output for output in outputs if output.tensor.requires_grad]
    if not wanted or logits.grad_fn is None:
        return []
    score = (logits * torch.linspace(1, 2, logits.shape[1], device=logits.device)).sum()
    gradients: Sequence[Tensor | None] = torch.autograd.grad(
        score, [one.tensor for one in wanted], allow_unused=True, retain_graph=True
    )
    connected = [
        (one, gradient if one.tokens is None else gradient[:, one.tokens :])
        for one, gradient in zip(wanted, gradients, strict=True)
        if gradient is not None
    ]
    if logits.is_meta:
        return [one for one, _ in connected]
    reached = [one for one, cells in connected if bool(cells.count_nonzero())]
    return reached or [one for one, _ in connected]


def _in_order(network: nn.Module, image: Tensor, outputs: Sequence[_Output]) -> list[_Output]:
    """Those that change where the image is changed, seen in one more pass.

    Tokens that were sorted into windows are as many as those of a grid, but do not lie as in it.
    """
    if image.is_meta:  # without numbers nobody can tell
        return [*outputs]
    height, width = image.shape[2:]
    rows, columns = (
        _span(at, length) for at, length in zip(_CHANGED, (height, width), strict=True)
    )
    changed = image.detach().clone()
    changed[..., rows, columns] = _noise(network, (height, width), seed=1)[..., rows, columns]
    changes: dict[str, Tensor] = {}
    by_module = {one.module: one for one in outputs}

    def compare(name: str, output: Tensor) -> None:
        before = by_module[name].tensor
        if output.shape == before.shape:
            changes[name] = (output - before.detach()).float().square()

    with _watched(network, [*by_module], compare), torch.no_grad():
        network(changed)
    return [
        one
        for one in outputs
        if one.module in changes and _changes_in_place(_cells(changes[one.module], one))
    ]


def _span(at: float, length: int, around: int = 0) -> slice:
    """Of the part that is changed, along a side of so many pixels or cells; at least one."""
    start = math.floor((at - _CHANGED_SIDE / 2) * length)
    stop = max(math.ceil((at + _CHANGED_SIDE / 2) * length), start + 1)
    return slice(max(start - around, 0), stop + around)


def _cells(values: Tensor, output: _Output) -> Tensor:
    """(1, ...) as the output is laid out -> (h, w), summed over channels."""
    if output.tokens is not None:
        return values[0, output.tokens :].sum(1).reshape(output.grid)
    return values[0].sum(0 if output.channels is None else 2)


def _changes_in_place(changes: Tensor) -> bool:
    """Whether cells (h, w) of that part have changed more than others, or all have alike, or NaN.

    They have changed more if most of them did than most others, which no few cells can spoil,
    however much those have changed. Where attention looks everywhere, all change alike; padding may
    have moved what has changed by a cell.
    """
    rows, columns = (_span(at, side) for at, side in zip(_CHANGED, changes.shape, strict=True))
    is_inside = torch.zeros_like(changes, dtype=torch.bool)
    is_inside[rows, columns] = True
    inside, elsewhere = changes[is_inside], changes[~is_inside].sort().values
    outranked = torch.searchsorted(elsewhere, inside).float().mean()
    rows, columns = (_span(at, side, 1) for at, side in zip(_CHANGED, changes.shape, strict=True))
    around = changes[rows, columns]
    most = changes.flatten().topk(around.numel()).values.sum()
    is_elsewhere = bool(outranked < _IN_ORDER * len(elsewhere))
    return not (is_elsewhere and bool(around.sum() < _ALIKE * most))


def _output(module: str, tensor: Tensor, input_size: tuple[int, int]) -> _Output | None:
    """The output with its grid; None for one that has none, or too fine or coarse a one.

    Parts of one image that are worked on side by side, such as windows, are no images.
    """
    if len(tensor) != 1:
        return None
    if tensor.ndim == 4:
        _, first, second, third = tensor.shape
        if _is_grid((second, third), input_size):
            return _Output(module, tensor, (second, third), None, None)
        if _is_grid((first, second), input_size):
            return _Output(module, tensor, (first, second), None, third)
        return None
    if tensor.shape[2] == 1:  # means, not tokens
        return None
    folded = _folded(tensor.shape[1], input_size)
    return None if folded is None else _Output(module, tensor, folded[1], folded[0], None)


def _is_grid(grid: tuple[int, int], input_size: tuple[int, int]) -> bool:
    """Whether cells of it are about as high as wide, in pixels, and neither fine nor coarse."""
    if min(grid) < 2:
        return False
    high, wide = (side / cells for side, cells in zip(input_size, grid, strict=True))
    rounded = max(1 / one for one in grid)  # one cell more or less, by how edges are padded
    alike = abs(math.log(high / wide)) <= 2 * rounded
    return alike and min(high, wide) >= _FINEST and max(high, wide) <= _COARSEST * (1 + rounded)


def _folded(tokens: int, input_size: tuple[int, int]) -> tuple[int, tuple[int, int]] | None:
    """(tokens before the grid's, grid) of so many tokens; None where they make none."""
    best: tuple[int, tuple[int, int]] | None = None
    for cell in range(_FINEST, _COARSEST + 1):
        for rounded in (math.floor, math.ceil):
            grid = rounded(input_size[0] / cell), rounded(input_size[1] / cell)
            prefix = tokens - grid[0] * grid[1]
            fits = 0 <= prefix <= _MOST_PREFIX_TOKENS and _is_grid(grid, input_size)
            if fits and (best is None or prefix < best[0]):
                best = prefix, grid
    return best


def _by_level(outputs: Sequence[_Output], input_size: tuple[int, int]) -> list[_Output] | None:
    """The last of each of the three levels; None where one has none."""
    chosen = []
    for pixels in _LEVELS.values():
        here = [output for output in outputs if _distance(output, input_size, pixels) <= _TOLERANCE]
        if not here:
            return None
        nearest = min(_distance(one, input_size, pixels) for one in here)
        here = [one for one in here if _distance(one, input_size, pixels) == nearest]
        whole = min(one.rank for one in here)
        chosen.append([one for one in here if one.rank == whole][-1])
    return chosen if len({one.grid for one in chosen}) == len(chosen) else None


def _by_grid(outputs: Sequence[_Output]) -> list[_Output] | None:
    """The last of each of the three coarsest grids; None where there are fewer."""
    whole: dict[tuple[int, int], _Output] = {}
    for output in outputs:
        if output.grid not in whole or output.rank <= whole[output.grid].rank:
            whole[output.grid] = output
    coarsest = sorted(whole, key=math.prod)[: len(_LEVELS)]
    return [whole[grid] for grid in coarsest[::-1]] if len(coarsest) == len(_LEVELS) else None


def _distance(output: _Output, input_size: tuple[int, int], pixels: int) -> float:
    cell = math.sqrt(math.prod(input_size) / math.prod(output.grid))
    return abs(math.log2(cell / pixels))


def _by_depth(outputs: Sequence[_Output]) -> list[_Output] | None:
    """A third, two thirds and the end of the way: of the longest list of blocks, else of all."""
    lists: dict[str, list[int]] = defaultdict(list)
    for output in outputs:
        for name in _within_numbered(output.module):
            found = _NUMBERED.fullmatch(name)
            if found is not None and int(found["number"]) not in lists[found["list"]]:
                lists[found["list"]].append(int(found["number"]))
    blocks = max(lists.items(), key=lambda pair: len(pair[1]), default=("", []))
    if len(blocks[1]) >= _LEAST_BLOCKS:
        numbers = sorted(blocks[1])
        at = [numbers[max(len(numbers) * third // 3, 1) - 1] for third in (1, 2, 3)]
        return [_of_block(f"{blocks[0]}{number}", outputs) for number in at]
    if len(outputs) < len(_LEVELS):
        return None
    return [outputs[max(len(outputs) * third // 3, 1) - 1] for third in (1, 2, 3)]


def _within_numbered(module: str) -> Iterator[str]:
    """`blocks.3` of `blocks.3.norm1`, and itself where it ends in a number."""
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        if parts[count - 1][-1:].isdecimal():
            yield ".".join(parts[:count])


def _of_block(block: str, outputs: Sequence[_Output]) -> _Output:
    """The block's own output, else the first in it that reaches the logits."""
    inside = [
        output
        for output in outputs
        if output.module == block or output.module.startswith(f"{block}.")
    ]
    return next((one for one in inside if one.module == block), inside[0])


class _Graph:
    """What autograd has recorded of one pass."""

    def __init__(self, logits: Tensor, image: Tensor) -> None:
        self.consumers: dict[object, list[object]] = defaultdict(list)
        order = self._in_order(logits.grad_fn)
        self._to_logits: dict[object, int] = defaultdict(int, {logits.grad_fn: 1})
        for node in order:
            for source in _sources(node):
                self.consumers[source].append(node)
                self._to_logits[source] += self._to_logits[node]
                self._to_logits[source] %= _PRIME
        self._from_image: dict[object, int] = defaultdict(int)
        for node in reversed(order):
            ways = sum(self._from_image[source] for source in _sources(node))
            is_image = getattr(node, "variable", None) is image
            self._from_image[node] = (ways + is_image) % _PRIME
        self._ways = self._from_image[logits.grad_fn]

    def is_passed_by_all(self, node: object) -> bool:
        """Whether each way from the image to the logits leads through it.

        The number of ways through it is then that of all ways; numbers are kept modulo a prime.
        """
        through = self._from_image[node] * self._to_logits[node] % _PRIME
        return node in self._from_image and through == self._ways

    @staticmethod
    def _in_order(last: object) -> list[object]:
        """Each node before those that it works on."""
        found: list[object] = []
        seen: set[object] = set()
        waiting: list[tuple[object, bool]] = [(last, False)]
        while waiting:
            node, is_done = waiting.pop()
            if is_done:
                found.append(node)
            elif node not in seen:
                seen.add(node)
                waiting.append((node, True))
                waiting += [(source, False) for source in _sources(node) if source not in seen]
        return found[::-1]


def _sources(node: object) -> list[object]:
    return [one for one, _ in getattr(node, "next_functions", ()) if one is not None]


def _stage(output: _Output, graph: _Graph) -> Stage:
    node = output.tensor.grad_fn
    sign = Sign.SIGNED
    if _made_by_relu(node):
        sign = Sign.NONNEGATIVE
    elif _goes_into_relu(node, graph.consumers):
        sign = Sign.RELU_NEXT
    grid = output.grid if output.tokens is not None else None
    tap = Tap(output.module, sign, output.tokens, output.channels, grid)
    return Stage(output.module, output.module, tap)


def _made_by_relu(node: object) -> bool:
    while _name(node) in _NODES_OF_COPIES:
        node = getattr(node, "next_functions", ((None, 0),))[0][0]
    return _name(node) in _NODES_OF_RELU


def _goes_into_relu(node: object, consumers: dict[object, list[object]]) -> bool:
    """Whether a ReLU, and nothing else, works on it."""
    after = consumers.get(node, [])
    while len(after) == 1 and _name(after[0]) in _NODES_OF_COPIES:
        after = consumers.get(after[0], [])
    return len(after) == 1 and _name(after[0]) in _NODES_OF_RELU


def _name(node: object) -> str:
    return type(node).__name__

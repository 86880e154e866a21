"""How the output of a module is laid out that somebody names and that is no stage."""

from __future__ import annotations

import copy
import threading
from dataclasses import replace
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from cam_engine.models.architectures import Tap
from cam_engine.models.tracing.grids import is_like_image
from cam_engine.models.tracing.passes import noise, watched
from cam_engine.models.tracing.places import changes_of, share_in_place

_IN_PLACE = 0.75  # of pairs of cells; by chance it is half of them
_CLEARLY = 0.1  # of the same, by which one of two ways to read an output is better
_USUAL_SIZE = (224, 224)  # pixels
_lock = threading.Lock()
_channels: WeakKeyDictionary[nn.Module, dict[str, int | None]] = WeakKeyDictionary()


def named_tap(
    network: nn.Module, module: str, near: Tap, image_size: tuple[int, int] | None
) -> Tap:
    """The module's tap, its output laid out as two passes of the network show, with `near`'s sign.

    near: the tap of the stage that it is in, as which tokens are folded, and all that passes do not
    show. image_size: (height, width) in pixels; None: the network takes any.
    """
    with _lock:
        known = _channels.setdefault(network, {})
        if module not in known:
            size = image_size or _USUAL_SIZE
            known[module] = _channels_last(network, module, size, near.channels)
        return replace(near, module=module, channels=known[module])


def _channels_last(
    network: nn.Module, module: str, size: tuple[int, int], otherwise: int | None
) -> int | None:
    """The channels of an output (1, h, w, C), None of one (1, C, h, w).

    Told by the cells, which are about as high as wide. Where they are so either way, a part of the
    image is changed: the output changes along its height and width there alone, and along its
    channels anywhere. Where neither tells, or the network does not run: otherwise.
    """
    kept: dict[str, Tensor] = {}

    def keep(name: str, output: Tensor) -> None:
        kept[name] = output.clone()  # what comes next may write into it

    # Other threads may copy the network meanwhile, and would copy the hooks as well.
    tensors = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    network = copy.deepcopy(network, tensors)
    image = noise(network, size, seed=0)
    try:
        with watched(network, [module], keep), torch.no_grad():
            network(image)
        changes = changes_of(network, image, kept).get(module)
    except Exception:  # any network, with images of a size that may not be its own
        return otherwise
    if changes is None or changes.ndim != 4 or len(changes) != 1 or changes.is_meta:
        return otherwise
    _, height, width, channels = changes.shape
    is_first = is_like_image((width, channels), size)
    is_last = is_like_image((height, width), size)
    if is_first != is_last:
        return channels if is_last else None
    first, last = share_in_place(changes[0].sum(0)), share_in_place(changes[0].sum(2))
    if max(first, last) < _IN_PLACE or abs(first - last) < _CLEARLY:
        return otherwise
    return channels if last > first else None

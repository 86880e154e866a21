"""Does a map depend on what the network learned? Weights are made random, from the top downwards.

Cascading randomisation (Adebayo et al. 2018, sec. 3): the head first, then ever more of the layers
below it. A map that stays as it was is not one of the trained model. Statistics of batch norms that
were made random are estimated on real inputs after each step; without that activations explode or
die and maps differ for that reason alone. Those not yet reached keep theirs: statistics of a small
batch change maps by themselves. Efficient MPRT (Hedström et al. 2024): the rise of a map's
complexity once the whole network is random.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.metrics import structural_similarity
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cam_engine.results import FloatMap

STEPS = (0.0, 0.25, 0.5, 0.75, 1.0)
BINS = 100
_LEAST_SPREAD = 0.02  # of parameters that are all the same: what networks begin with


@dataclass(frozen=True, slots=True)
class RandomStep:
    """A network of which a share of the layers, 0..1 from the top, is random; 0: the head alone."""

    share: float
    network: nn.Module


def randomised(
    network: nn.Module, batch: Tensor, seed: int, shares: Sequence[float] = STEPS
) -> Iterator[RandomStep]:
    """Copies of the network on the CPU, more and more of them random.

    batch: (N, 3, h, w) real inputs on which random batch norms' statistics are estimated, N > 1.
    Layers go in the reverse order of `network.modules()`, which ends with the head. Those of torch
    are drawn as their own `reset_parameters` draws them, all other parameters from a normal
    distribution of the same mean and deviation: other libraries' modules may reset themselves to
    what switches them off, such as a layer scale of 1e-6. The same seed draws the same bits,
    whatever is drawn elsewhere between the steps.
    """
    made = copy.deepcopy(network).cpu().eval()
    owners = [
        module
        for module in made.modules()
        if isinstance(module, _BatchNorm) or any(True for _ in module.parameters(recurse=False))
    ]
    owners.reverse()
    stream = torch.Generator().manual_seed(seed).get_state()
    done = 0
    for share in shares:
        wanted = max(1, done, round(share * len(owners)))
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(stream)
            for module in owners[done:wanted]:
                _draw(module)
            stream = torch.get_rng_state()
            done = wanted
            _estimate(owners[:done], made, batch.cpu())
        yield RandomStep(share, copy.deepcopy(made))


def similarity(one: FloatMap, other: FloatMap) -> float:
    """SSIM (Wang et al. 2004) of two maps (H, W) in 0..1; 1 for the same map."""
    return float(structural_similarity(one, other, data_range=1.0))


def complexity(values: NDArray[np.floating], bins: int = BINS) -> float:
    """Entropy of a map's histogram, in nats: 0 for a uniform map (eMPRT's measure, eq. 6)."""
    counts, _ = np.histogram(values, bins=bins)
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def complexity_rise(trained: NDArray[np.floating], random: NDArray[np.floating]) -> float:
    """(complexity of the random network's map - the trained one's) / the trained one's (eMPRT).

    NaN where the trained map is uniform.
    """
    before = complexity(trained)
    return (complexity(random) - before) / before if before > 0 else float("nan")


def _draw(module: nn.Module) -> None:
    parameters = list(module.parameters(recurse=False))
    before = [parameter.detach().clone() for parameter in parameters]
    with torch.no_grad():
        for parameter in parameters:
            parameter.fill_(torch.nan)  # so that it shows what a reset leaves out
        reset = getattr(module, "reset_parameters", None)
        if callable(reset) and reset.__module__.startswith("torch.nn."):
            reset()
        for parameter, trained in zip(parameters, before, strict=True):
            if parameter.isnan().any():
                spread = float(trained.std()) if trained.numel() > 1 else 0.0
                parameter.normal_(float(trained.mean()), spread or _LEAST_SPREAD)


def _estimate(among: Sequence[nn.Module], network: nn.Module, batch: Tensor) -> None:
    """Means and variances of those batch norms over the batch, in one pass of the network."""
    norms = [module for module in among if isinstance(module, _BatchNorm)]
    if not norms:
        return
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # of this batch alone
        norm.train()
    with torch.no_grad():
        network(batch)
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
        norm.eval()

"""What is assumed of a network's input where the file is silent: its size, mean and std."""

from __future__ import annotations

from pathlib import Path

from cam_engine.errors import InvalidOption
from cam_engine.images.preparing import Preprocessing
from cam_engine.models.architectures import NAMINGS, find_architecture
from cam_engine.models.fitting.comparing import Fit
from cam_engine.models.libraries.plugins import OwnNetwork
from cam_engine.models.networks import config_of, libraries_of


def default_preprocessing(fit: Fit, own: OwnNetwork | None = None) -> tuple[Preprocessing, str]:
    """What is assumed where the file is silent, and why."""
    if own is not None:
        return Preprocessing(own.input_size, own.mean, own.std), f"assumed: as {fit.name} says"
    row = find_architecture(fit.name)
    if fit.naming == "transformers" and fit.image_size is not None:
        source = "assumed: image_size in config.json, and ImageNet's statistics"
        return Preprocessing(fit.image_size), source
    if fit.naming not in NAMINGS or (row is not None and fit.naming == "torchvision"):
        return Preprocessing(), "assumed: 224 x 224 px and ImageNet's statistics"
    name = fit.name if row is None else row.timm.builder
    config = config_of(name, fit.naming)
    recorded = Preprocessing(fit.image_size or config.input_size, config.mean, config.std)
    return recorded, f"assumed: as {fit.naming} records them of {name}"


def recorded_preprocessing(name: str) -> Preprocessing:
    """As `default_preprocessing`, where nothing is known but the name."""
    if find_architecture(name) is not None:
        return Preprocessing()
    config = config_of(name, libraries_of(name)[0])
    return Preprocessing(config.input_size, config.mean, config.std)


def check_size(fit: Fit, preprocessing: Preprocessing, path: Path) -> None:
    """Raises InvalidOption where the network is of one size, and that is another."""
    row = find_architecture(fit.name)
    fixed = config_of(fit.name, fit.naming).fixed_size if row is None else row.fixed_size
    own = fit.image_size or default_preprocessing(fit)[0].input_size
    if fixed and preprocessing.input_size != own:
        raise InvalidOption(
            f"{path}: {fit.name} takes images of {own[0]}x{own[1]} px only, input_size is "
            f"{preprocessing.input_size[0]}x{preprocessing.input_size[1]}"
        )

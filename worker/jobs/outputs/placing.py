"""Into which folder a job's pictures go, so that they replace none that another recipe made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cam_engine.options import CamOptions, FigureStyle
from cam_engine.outputs.files import PicturePaths
from cam_engine.outputs.provenance import Provenance
from cam_engine.pictures.recipes import DISTRIBUTION, software_versions, to_json
from worker.jobs.contract import JobFolder, JobModel, JobRequest
from worker.jobs.outputs.storage import OutputFolder

_MOST_LOOKED_AT = 500  # figures of a model, evenly over its folder
_DIGITS = 8

Standing = Literal["empty", "same", "other"]


@dataclass(frozen=True, slots=True)
class JobRecipe:
    """What a job's pictures depend on, as far as it is known before a worker has the model."""

    options: CamOptions
    style: FigureStyle

    @property
    def name(self) -> str:
        """The name of a set of its own: method and digest."""
        words = to_json([self.options, self.style, _software()])
        digest = hashlib.sha256(words.encode()).hexdigest()
        return f"{self.options.method}-{digest[:_DIGITS]}"

    def made(self, facts: Mapping[str, Any], checkpoint_sha256: str) -> bool:
        """Whether a picture of a run with these facts is one as this job makes them.

        By whichever depth its deep images were read: no request names one, and a worker finds it.
        """
        own = json.loads(to_json({"options": self.options, "figures": self.style}))
        software = (facts.get("versions") or {}).get(DISTRIBUTION)
        return (
            _without_depth({key: facts.get(key) for key in own}) == own
            and facts.get("model_sha256") == checkpoint_sha256
            and software == _software()
        )


@dataclass(frozen=True, slots=True)
class FolderContents:
    """What stands in the folders of a job's models.

    standing: nothing of ours, pictures of the job's own recipe, or also of another one.
    figures: main figures in all of them. example: what made one of them, of another recipe if any.
    """

    standing: Standing
    figures: int
    example: Provenance | None


def recipe_of(request: JobRequest) -> JobRecipe:
    """Raises InvalidOption."""
    return JobRecipe(request.cam_options(), request.figure_style())


def places(request: JobRequest, folder: JobFolder, job: str) -> Iterator[JobFolder]:
    """Where the pictures may go, in the order of preference.

    Into the folder that the request names and nowhere else; otherwise into the experiment's own,
    a set of the recipe, or one of the job alone, where the model's file was replaced since.
    """
    if request.name is not None:
        yield folder.set_named(request.name)
        return
    yield folder
    name = recipe_of(request).name
    yield folder.set_named(name)
    yield folder.set_named(f"{name}-{job[:_DIGITS]}")


def look(output: OutputFolder, models: Sequence[JobModel], recipe: JobRecipe) -> FolderContents:
    """What is there. Raises OSError."""
    figures = {model: output.figures(model.name) for model in models}
    count = sum(len(names) for names in figures.values())
    example: Provenance | None = None
    for model, names in figures.items():
        step = max(1, -(-len(names) // _MOST_LOOKED_AT))
        paths = [_figure(model.name, name) for name in names[::step]]
        for made in output.provenance(paths):
            if made is None:
                continue
            example = made
            if not recipe.made(made.facts, model.checkpoint_sha256):
                return FolderContents("other", count, made)
    return FolderContents("same" if example is not None else "empty", count, example)


def _without_depth(facts: dict[str, Any]) -> dict[str, Any]:
    options = facts.get("options")
    decoding = options.get("decoding") if isinstance(options, dict) else None
    if not isinstance(options, dict) or not isinstance(decoding, dict):
        return facts
    return {**facts, "options": {**options, "decoding": {**decoding, "depth_bits": None}}}


def _figure(model: str, name: str) -> str:
    return PicturePaths(Path(model), name).main().as_posix()


def _software() -> str:
    return software_versions()[DISTRIBUTION]

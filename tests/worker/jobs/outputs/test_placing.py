"""Which folder a job's pictures go to, by what stands in each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cam_engine.images.png import encode_png
from cam_engine.outputs.files import PicturePaths
from cam_engine.outputs.provenance import Provenance
from cam_engine.pictures.recipes import DISTRIBUTION, software_versions, to_json
from tests.worker.jobs.outputs.storing import made_by
from worker.jobs.contract import JobFolder, JobModel, JobRequest
from worker.jobs.outputs.placing import FolderContents, look, places, recipe_of
from worker.jobs.outputs.storage import OutputFolder

JOB = "0123456789abcdef" * 2
OWN = JobFolder(below="output", path="a/gradcam_visualizations")
MODELS = [
    JobModel(id=f"experiment_x/{name}", name=name, checkpoint_sha256=digit * 64)
    for name, digit in (("cls_a", "a"), ("cls_b", "b"))
]
RECIPE = recipe_of(JobRequest(experiment="experiment_x"))


def facts_of(request: JobRequest, model: JobModel = MODELS[0]) -> dict[str, Any]:
    """Those of a run that makes just what the job would."""

    recipe = recipe_of(request)
    facts = {"options": recipe.options, "figures": recipe.style}
    own: dict[str, Any] = json.loads(to_json(facts))
    return {
        **own,
        "model_sha256": model.checkpoint_sha256,
        "versions": {DISTRIBUTION: software_versions()[DISTRIBUTION], "torch": "whatever"},
        "device": "whatever",
    }


def put(output: OutputFolder, model: JobModel, name: str, facts: dict[str, Any] | None) -> None:
    """A figure whose recipe has these facts; None: a picture without one."""
    recipe = json.loads(made_by("r")["Recipe"])
    text = {} if facts is None else {"Recipe": json.dumps({**recipe, "facts": facts})}
    with output.workspace(model.name) as workspace:
        main = PicturePaths(Path(), name).main()
        workspace.folder.write(main, encode_png(np.zeros((2, 2, 3), np.uint8), text=text))
        workspace.publish([main], lambda: None)
        workspace.wait()


def test_pictures_go_into_the_experiments_folder_a_set_of_the_recipe_or_one_of_the_job() -> None:
    request = JobRequest(experiment="experiment_x")
    name = recipe_of(request).name
    assert re.fullmatch(r"gradcam\+\+-[0-9a-f]{8}", name)
    assert list(places(request, OWN, JOB)) == [
        OWN,
        OWN.set_named(name),
        OWN.set_named(f"{name}-01234567"),
    ]


def test_pictures_that_have_a_name_go_there_and_nowhere_else() -> None:
    request = JobRequest(experiment="experiment_x", name="for-the-talk")
    assert list(places(request, OWN, JOB)) == [OWN.set_named("for-the-talk")]


@pytest.mark.parametrize(
    "change",
    [{"method": "layercam"}, {"alpha": 0.25}, {"colormap": "viridis"}, {"layers": ("late",)}],
)
def test_a_set_is_named_by_all_that_its_pictures_depend_on(change: dict[str, Any]) -> None:
    plain = JobRequest(experiment="experiment_x")
    other = JobRequest(experiment="experiment_x", **change)
    assert recipe_of(other).name != recipe_of(plain).name
    assert recipe_of(other).name.startswith(f"{other.cam_options().method}-")
    again = JobRequest(experiment="experiment_y", max_images=3)
    assert recipe_of(again).name == recipe_of(plain).name


def test_a_picture_is_of_the_recipe_where_options_model_and_software_are_the_same() -> None:
    request = JobRequest(experiment="experiment_x")
    facts, sha256 = facts_of(request), MODELS[0].checkpoint_sha256
    assert RECIPE.made(facts, sha256)
    assert not RECIPE.made(facts, MODELS[1].checkpoint_sha256)
    assert not RECIPE.made({**facts, "options": {**facts["options"], "alpha": 0.9}}, sha256)
    assert not RECIPE.made({**facts, "figures": {**facts["figures"], "dpi": 1}}, sha256)
    assert not RECIPE.made({**facts, "versions": {"gradcam-service": "0.0.1"}}, sha256)
    assert not RECIPE.made({**facts, "versions": None}, sha256)
    assert not RECIPE.made({key: facts[key] for key in facts if key != "versions"}, sha256)
    assert not RECIPE.made({}, sha256)


def test_pictures_of_deep_images_are_of_the_recipe_by_whichever_depth_they_were_read() -> None:
    facts, sha256 = facts_of(JobRequest(experiment="experiment_x")), MODELS[0].checkpoint_sha256
    options = facts["options"]
    for change, is_same in (({"depth_bits": 12}, True), ({"intensity": "type"}, False)):
        read = {**options, "decoding": {**options["decoding"], **change}}
        assert RECIPE.made({**facts, "options": read}, sha256) == is_same
    assert not RECIPE.made({**facts, "options": {**options, "decoding": None}}, sha256)


def test_nothing_of_ours_is_there(output: OutputFolder) -> None:
    assert look(output, MODELS, RECIPE) == FolderContents("empty", 0, None)
    put(output, MODELS[0], "foreign", None)
    assert look(output, MODELS, RECIPE) == FolderContents("empty", 1, None)


def test_pictures_of_the_same_recipe_are_there(output: OutputFolder) -> None:
    request = JobRequest(experiment="experiment_x")
    for model, name in ((MODELS[0], "x"), (MODELS[0], "y"), (MODELS[1], "x")):
        put(output, model, name, facts_of(request, model))
    contents = look(output, MODELS, RECIPE)
    assert (contents.standing, contents.figures) == ("same", 3)
    assert contents.example is not None
    assert contents.example.facts["model_sha256"] == MODELS[1].checkpoint_sha256


def test_pictures_of_another_recipe_are_there(output: OutputFolder) -> None:
    put(output, MODELS[0], "x", facts_of(JobRequest(experiment="experiment_x")))
    other = JobRequest(experiment="experiment_x", method="layercam")
    put(output, MODELS[1], "x", facts_of(other, MODELS[1]))
    contents = look(output, MODELS, RECIPE)
    assert (contents.standing, contents.figures) == ("other", 2)
    assert contents.example is not None
    assert contents.example.facts["options"]["method"] == "layercam"
    assert look(output, MODELS[:1], RECIPE).standing == "same"


def test_of_a_large_folder_a_few_hundred_are_looked_at(
    output: OutputFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.jobs.outputs.placing._MOST_LOOKED_AT", 2)
    request = JobRequest(experiment="experiment_x")
    for name in "abcde":
        put(output, MODELS[0], name, facts_of(request))
    asked: list[str] = []
    read = output.provenance

    def counted(paths: Sequence[str]) -> Iterator[Provenance | None]:
        asked.extend(paths)
        return read(paths)

    monkeypatch.setattr(output, "provenance", counted)
    contents = look(output, MODELS[:1], RECIPE)
    assert contents.figures == 5
    assert asked == ["cls_a/improved_gradcam_a.png", "cls_a/improved_gradcam_d.png"]

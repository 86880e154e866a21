"""What tests of outputs share: a picture as a worker publishes it, and what is read of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from cam_engine.images.png import encode_png
from cam_engine.outputs.files import PicturePaths
from worker.jobs.contract import JobRequest
from worker.jobs.outputs.storage import OutputFolder, OutputStorage, StoredFile

RUNNING = b'{"status": "running"}'
ENDED = b'{"status": "succeeded"}'
ONE, TWO, THREE, FOUR, GONE = (digit * 32 for digit in "1234f")


def named(name: str) -> JobRequest:
    return JobRequest(experiment="experiment_x", output=name)


def output_of(storage: OutputStorage, name: str) -> OutputFolder:
    return storage.open(storage.place(named(name)))


def made_by(run: str, image_sha256: str = "0" * 64) -> dict[str, str]:
    """The recipe of a picture, as far as it is looked at."""
    recipe = {"run": run, "image": "x.jpg", "image_sha256": image_sha256, "facts": {}}
    return {"Recipe": json.dumps(recipe)}


def content(file: StoredFile | None) -> bytes:
    assert file is not None
    return b"".join(file.content())


def publish(output: OutputFolder, model: str, name: str, text: dict[str, str]) -> None:
    """One image's pictures, as a worker writes them."""
    told = []
    with output.workspace(model) as workspace:
        paths = PicturePaths(Path(), name)
        component = paths.component("late", "heatmap")
        workspace.folder.write(component, b"component")
        picture = encode_png(np.zeros((4, 4, 3), np.uint8), text=text)
        workspace.folder.write(paths.main(), picture)
        workspace.publish([component, paths.main()], lambda: told.append(name))
        workspace.wait()
    assert told == [name]

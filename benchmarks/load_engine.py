"""The engine without a service, in a process of its own: files in, the service's overlays out."""

from __future__ import annotations

import hashlib
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

import torch

from benchmarks.load_client import file_name
from benchmarks.load_processes import Cores, ServedModel
from cam_engine.images.decoded import DecodedImage
from cam_engine.images.decoding import decode
from cam_engine.maps.explainer import Explainer, PreparedImage
from cam_engine.models.loading import load_classifier
from cam_engine.options import FigureStyle
from cam_engine.pictures.picture_set import Pictures, PictureSource, ShownImage
from cam_engine.pictures.recipes import Recipes, run_facts
from cam_engine.process.memory import reuse_large_blocks
from cam_engine.results import Explanation
from service.explanations.requests import ExplanationOptions

BATCH_SIZE = 16


class Engine:
    """The other end of the engine's process."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe

    def one_by_one(self, wanted: Sequence[tuple[int, str]]) -> list[tuple[float, str]]:
        """Explain images by number, under names: (seconds, SHA-256 of the overlay's PNG) each."""
        self._pipe.send(wanted)
        answers: list[tuple[float, str]] = self._pipe.recv()
        return answers

    def batched(self, count: int) -> float:
        """Seconds for so many images in batches: decode, explain, draw and encode."""
        self._pipe.send(count)
        seconds: float = self._pipe.recv()
        return seconds


@contextmanager
def engine(model: ServedModel, cores: Cores, images: Sequence[bytes]) -> Iterator[Engine]:
    """The engine with the model loaded, on the server's core and on one thread."""
    spawning = multiprocessing.get_context("spawn")
    ours, theirs = spawning.Pipe()
    process = spawning.Process(
        target=_serve, args=(theirs, model.checkpoint, model.id, images), daemon=True
    )
    with cores.serving():
        process.start()
    theirs.close()  # so that the end of the process ends the waiting for it
    try:
        yield Engine(ours)
    finally:
        ours.close()
        process.join(timeout=10)
        process.kill()


class Drawer:
    """One model with the service's default options; its PNGs are the service's to the byte."""

    def __init__(self, checkpoint: Path, model_id: str) -> None:
        options = ExplanationOptions()
        self._layer = options.shown_layer
        self._options = options.cam_options()
        self._explainer = Explainer(load_classifier(checkpoint), device="cpu")
        facts = run_facts(model_id, self._explainer, self._options, FigureStyle())
        self._recipes = Recipes(facts)

    def overlays(self, files: Sequence[tuple[bytes, str]]) -> list[bytes]:
        """Decode all, explain them in one batch, draw and encode one by one.

        files: bytes and name of each.
        """
        decoded = [decode(data) for data, _ in files]
        prepared = [self._explainer.prepare_image(image.pixels, self._options) for image in decoded]
        # As for the service's overlays: nobody asks for the class without CLAHE.
        inputs = [replace(image.network_input, plain=None) for image in prepared]
        explanations = self._explainer.explain_inputs(inputs, self._options)
        return [
            self._overlay(file, image, ready, explanation)
            for file, image, ready, explanation in zip(
                files, decoded, prepared, explanations, strict=True
            )
        ]

    def _overlay(
        self,
        file: tuple[bytes, str],
        decoded: DecodedImage,
        image: PreparedImage,
        explanation: Explanation,
    ) -> bytes:
        data, name = file
        digest = hashlib.sha256(data).hexdigest()
        pictures = Pictures(
            self._recipes,
            self._options,
            PictureSource(name, name, digest, None, decoded.facts),
            ShownImage(decoded.pixels, image.enhanced),
            explanation,
        )
        return pictures.overlay(explanation.layer(self._layer))


def _serve(pipe: Pipe, checkpoint: Path, model_id: str, images: Sequence[bytes]) -> None:
    """Answer until the other end is closed."""
    torch.set_num_threads(1)
    reuse_large_blocks()  # as the service does
    drawer = Drawer(checkpoint, model_id)
    drawn = 0
    while True:
        try:
            wanted = pipe.recv()
        except EOFError:
            return
        if isinstance(wanted, int):
            numbers = range(drawn, drawn + wanted)
            drawn += wanted
            pipe.send(_batches(drawer, [(images[n % len(images)], file_name(n)) for n in numbers]))
        else:
            pipe.send([_one(drawer, images[number], name) for number, name in wanted])


def _batches(drawer: Drawer, files: Sequence[tuple[bytes, str]]) -> float:
    start = time.perf_counter()
    for first in range(0, len(files), BATCH_SIZE):
        drawer.overlays(files[first : first + BATCH_SIZE])
    return time.perf_counter() - start


def _one(drawer: Drawer, image: bytes, name: str) -> tuple[float, str]:
    start = time.perf_counter()
    (png,) = drawer.overlays([(image, name)])
    return time.perf_counter() - start, hashlib.sha256(png).hexdigest()

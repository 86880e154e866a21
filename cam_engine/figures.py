"""All pictures of one explanation, drawn, encoded and written: the main figure last."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cam_engine.engine import PreparedImage
from cam_engine.options import CamOptions, PaperFormat
from cam_engine.outputs import PicturePaths, row_to_json, write_atomically
from cam_engine.panel import WIDTH_INCHES, input_places, render_panel
from cam_engine.png import encode_png
from cam_engine.records import Recipes, RunFacts, Succeeded, succeeded_row, to_json
from cam_engine.rendering import (
    colour_indices,
    colour_table,
    full_size_map,
    output_size,
    overlay,
    resize_image,
)
from cam_engine.results import Explanation, FloatMap, LayerMap, RgbImage
from cam_engine.wording import FigureFacts

DEFAULT_PAPER_DPI = 300
PLACES = "Places"  # the text chunk that says where the main figure shows its input images

_MAP_MAXIMUM = 65535


class FigureWriter:
    """Writes images' pictures into one classifier's folder; safe to call from several threads."""

    def __init__(self, facts: RunFacts, folder: Path) -> None:
        self._facts = facts
        self._folder = folder
        self._style = facts.figures
        self._recipes = Recipes(facts)

    @property
    def run_digest(self) -> str:
        """Digest of all that the pictures depend on beside the image (hex)."""
        return self._recipes.run

    def write(
        self,
        *,
        name: str,
        image: str,
        image_sha256: str,
        true_class: str | None,
        prepared: PreparedImage,
        explanation: Explanation,
    ) -> Succeeded:
        """Draw and write all pictures; answers the summary row. Raises OutputNotWritable.

        The main figure comes last, so that where it is, all others are.
        """
        size = output_size(prepared.original)
        maps = {layer.name: full_size_map(layer, size) for layer in explanation.layers}
        paths = PicturePaths(self._folder, name)
        original = resize_image(prepared.original, size)

        def text(layer: LayerMap | None) -> dict[str, str]:
            return self._recipes.text(image, image_sha256, explanation.target, layer)

        for layer in explanation.layers:
            pictures = self._components(original, layer, maps[layer.name], text(layer))
            for kind, data in pictures:
                write_atomically(paths.component(layer.name, kind), data)
        row = succeeded_row(image, name, true_class, explanation, maps)
        facts = FigureFacts(title=name, model_name=self._facts.model, true_class=true_class)
        inputs = _PanelInputs(
            prepared.original, prepared.enhanced, explanation, maps, self._facts.options, facts
        )
        self._write_main(paths, inputs, {**text(None), "Row": to_json(row_to_json(row))})
        return row

    def expected_files(self, name: str) -> list[Path]:
        """All files that `write` makes for an image of this name."""
        options, style = self._facts.options, self._style
        layers = [*options.layers, *(["fused"] if options.fused else [])]
        kinds = ["heatmap", "overlay", *(["map"] if style.save_maps else [])]
        paths = PicturePaths(self._folder, name)
        paper = [paths.main("pdf")] if style.paper_format == "pdf" else []
        return [
            *(paths.component(layer, kind) for layer in layers for kind in kinds),
            *paper,
            paths.main(),
        ]

    def _components(
        self, original: RgbImage, layer: LayerMap, values: FloatMap, text: Mapping[str, str]
    ) -> Iterator[tuple[str, bytes]]:
        options = self._facts.options
        table = colour_table(options.colormap)
        yield "heatmap", encode_png(colour_indices(values), palette=table, text=text)
        yield "overlay", encode_png(overlay(original, values, options), text=text)
        if self._style.save_maps:
            grey = np.round(values * _MAP_MAXIMUM).astype(np.uint16)
            yield "map", encode_png(grey, text=text)

    def _write_main(
        self, paths: PicturePaths, inputs: _PanelInputs, text: Mapping[str, str]
    ) -> None:
        style = self._style
        dpi = style.paper_dpi or DEFAULT_PAPER_DPI
        if style.paper_format == "pdf":
            write_atomically(paths.main("pdf"), _paper_figure(inputs, "pdf", dpi, text))
        places = to_json(_input_places(inputs, dpi if style.paper_png else None))
        text = {**text, PLACES: places}
        if style.paper_png:
            write_atomically(paths.main(), _paper_figure(inputs, "png", dpi, text))
        else:
            write_atomically(paths.main(), encode_png(render_panel(*inputs), text=text))


class _PanelInputs(NamedTuple):
    """What the main figure is made of, in the order that its makers take it."""

    original: RgbImage
    enhanced: RgbImage | None
    explanation: Explanation
    maps: Mapping[str, FloatMap]
    options: CamOptions
    facts: FigureFacts


def _input_places(inputs: _PanelInputs, dpi: int | None) -> dict[str, tuple[int, int, int, int]]:
    size = inputs.original.shape[0], inputs.original.shape[1]
    width = None if dpi is None else round(WIDTH_INCHES * dpi)
    return input_places(size, inputs.explanation, inputs.facts, width)


def _paper_figure(
    inputs: _PanelInputs, form: PaperFormat, dpi: int, text: Mapping[str, str]
) -> bytes:
    # matplotlib takes half a second to import, and only paper figures need it.
    from cam_engine.paper import save_paper_figure  # noqa: PLC0415

    buffer = io.BytesIO()
    save_paper_figure(buffer, *inputs, format=form, dpi=dpi, text=text)
    return buffer.getvalue()

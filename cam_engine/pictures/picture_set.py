"""One explanation's pictures as PNG bytes, each drawn when it is asked for."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cam_engine import text_keys
from cam_engine.images.decoded import UNKNOWN, ImageFacts
from cam_engine.images.png import encode_png
from cam_engine.options import CamOptions, PaperFormat
from cam_engine.pictures.panel import WIDTH_INCHES, input_places, render_panel
from cam_engine.pictures.paper import save_paper_figure
from cam_engine.pictures.recipes import Recipes, to_json
from cam_engine.pictures.rendering import (
    colour_indices,
    colour_table,
    full_size_map,
    output_size,
    overlay,
    resize_image,
)
from cam_engine.pictures.wording import FigureFacts
from cam_engine.results import Explanation, FloatMap, LayerMap, RgbImage

DEFAULT_PAPER_DPI = 300

GreyBits = Literal[8, 16]


class PictureSource(NamedTuple):
    """Which image is shown: its name as figures say it, its path or name, its file's digest.

    decoding: what was done to make its pixels of the file.
    """

    title: str
    image: str
    image_sha256: str
    true_class: str | None
    decoding: ImageFacts = UNKNOWN


class ShownImage(NamedTuple):
    """(H, W, 3) uint8 pixels as decoded, and the same after CLAHE (None where it is off)."""

    original: RgbImage
    enhanced: RgbImage | None


class Pictures:
    """Draws one explanation. Not for several threads at once: full-size maps are kept."""

    def __init__(
        self,
        recipes: Recipes,
        options: CamOptions,
        source: PictureSource,
        shown: ShownImage,
        explanation: Explanation,
        maps: dict[str, FloatMap] | None = None,
    ) -> None:
        """maps: full-size ones that are drawn already, by layer; others are added to them."""
        self.explanation = explanation
        self._recipes = recipes
        self._options = options
        self._source = source
        self._shown = shown
        self._size = output_size(shown.original)
        self._original: RgbImage | None = None
        self._maps = {} if maps is None else maps

    @property
    def maps(self) -> Mapping[str, FloatMap]:
        """The full-size map, (H, W) float32 in 0..1, of every layer by its name."""
        for layer in self.explanation.layers:
            self.values(layer)
        return self._maps

    @property
    def original(self) -> RgbImage:
        """(H, W, 3) uint8: the image before CLAHE at the pictures' size."""
        if self._original is None:
            self._original = resize_image(self._shown.original, self._size)
        return self._original

    @property
    def enhanced(self) -> RgbImage | None:
        """(H, W, 3) uint8: the image after CLAHE at the pictures' size; None where it is off."""
        enhanced = self._shown.enhanced
        return None if enhanced is None else resize_image(enhanced, self._size)

    def values(self, layer: LayerMap) -> FloatMap:
        """(H, W) float32 in 0..1: the layer's map at the pictures' size."""
        if layer.name not in self._maps:
            self._maps[layer.name] = full_size_map(layer, self._size)
        return self._maps[layer.name]

    def heatmap(self, layer: LayerMap) -> bytes:
        """PNG of the layer's map in colour."""
        table = colour_table(self._options.colormap)
        indices = colour_indices(self.values(layer))
        return encode_png(indices, palette=table, text=self._text(layer))

    def overlay(self, layer: LayerMap) -> bytes:
        """PNG of the layer's map over the image."""
        pixels = overlay(self.original, self.values(layer), self._options)
        return encode_png(pixels, text=self._text(layer))

    def grey(self, layer: LayerMap, bits: GreyBits = 16) -> bytes:
        """Grey PNG of the layer's map: 0 to the type's largest number for 0 to 1."""
        return encode_png(to_integers(self.values(layer), bits), text=self._text(layer))

    def panel(self, extra: Mapping[str, str] | None = None) -> bytes:
        """PNG of the main figure; extra: more text chunks."""
        text = {**self._text(None), **(extra or {}), text_keys.PLACES: self._places()}
        return encode_png(render_panel(*self._inputs), text=text)

    def paper(self, form: PaperFormat, dpi: int, extra: Mapping[str, str] | None = None) -> bytes:
        """The main figure as a paper version, PNG or PDF, with `dpi` pixels an inch."""
        buffer = io.BytesIO()
        text = {**self._text(None), **(extra or {})}
        if form == "png":
            text[text_keys.PLACES] = self._places(dpi)
        save_paper_figure(buffer, *self._inputs, format=form, dpi=dpi, text=text)
        return buffer.getvalue()

    @property
    def _inputs(self) -> _PanelInputs:
        said = (*self._recipes.notices, *self._source.decoding.notices)
        facts = FigureFacts(self._source.title, self._recipes.model, self._source.true_class, said)
        return _PanelInputs(
            self._shown.original,
            self._shown.enhanced,
            self.explanation,
            self.maps,
            self._options,
            facts,
        )

    def _places(self, dpi: int | None = None) -> str:
        inputs = self._inputs
        size = inputs.original.shape[0], inputs.original.shape[1]
        width = None if dpi is None else round(WIDTH_INCHES * dpi)
        return to_json(input_places(size, inputs.explanation, inputs.facts, width))

    def _text(self, layer: LayerMap | None) -> dict[str, str]:
        source, target = self._source, self.explanation.target
        return self._recipes.text(source.image, source.image_sha256, target, layer, source.decoding)


class _PanelInputs(NamedTuple):
    """What the main figure is made of, in the order that its makers take it."""

    original: RgbImage
    enhanced: RgbImage | None
    explanation: Explanation
    maps: Mapping[str, FloatMap]
    options: CamOptions
    facts: FigureFacts


def at_most_output(shown: ShownImage) -> ShownImage:
    """No more pixels than the pictures will have: many images may wait to be drawn."""
    size = output_size(shown.original)
    if shown.original.shape[:2] == size:
        return shown
    enhanced = None if shown.enhanced is None else resize_image(shown.enhanced, size)
    return ShownImage(resize_image(shown.original, size), enhanced)


def to_integers(values: FloatMap, bits: GreyBits = 16) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """A map in 0..1 as uint8 or uint16, 1 being the type's largest number."""
    scaled: FloatMap = np.round(values * np.float32(2**bits - 1))
    return scaled.astype(np.uint8) if bits == 8 else scaled.astype(np.uint16)

"""All pictures of one explanation written into the documented tree: the main figure last."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cam_engine import text_keys
from cam_engine.confined import ConfinedFolder
from cam_engine.images.decoded import ImageFacts
from cam_engine.options import CamOptions, FigureStyle
from cam_engine.outputs.files import PicturePaths, write_into
from cam_engine.outputs.summaries import row_to_json
from cam_engine.pictures.picture_set import DEFAULT_PAPER_DPI, Pictures, PictureSource, ShownImage
from cam_engine.pictures.recipes import Recipes, RunFacts, Succeeded, succeeded_row, to_json
from cam_engine.results import Explanation, LayerMap


def picture_files(folder: Path, name: str, options: CamOptions, style: FigureStyle) -> list[Path]:
    """All files that are made for an image of this name, the main figure last.

    folder: what the paths begin with; `Path()` for those below the classifier's folder.
    """
    layers = [*options.layers, *(["fused"] if options.fused else [])]
    kinds = ["heatmap", "overlay", *(["map"] if style.save_maps else [])]
    paths = PicturePaths(folder, name)
    paper = [paths.main("pdf")] if style.paper_format == "pdf" else []
    return [
        *(paths.component(layer, kind) for layer in layers for kind in kinds),
        *paper,
        paths.main(),
    ]


@dataclass(frozen=True, slots=True)
class Figure:
    """What the pictures of one image are drawn from.

    name: the stem of their files. image: as summaries name it. image_sha256: of its file (hex).
    """

    name: str
    image: str
    image_sha256: str
    true_class: str | None
    shown: ShownImage
    decoding: ImageFacts
    explanation: Explanation


class FigureWriter:
    """Writes images' pictures into one classifier's folder; safe to call from several threads."""

    def __init__(self, facts: RunFacts, folder: ConfinedFolder) -> None:
        self._facts = facts
        self._folder = folder
        self._style = facts.figures
        self._recipes = Recipes(facts)

    @property
    def run_digest(self) -> str:
        """Digest of all that the pictures depend on beside the image (hex)."""
        return self._recipes.run_digest

    def write(self, figure: Figure) -> Succeeded:
        """Draw and write all pictures; answers the summary row. Raises OutputNotWritable.

        The main figure comes last, so that where it is, all others are.
        """
        name, image, decoding = figure.name, figure.image, figure.decoding
        explanation, true_class = figure.explanation, figure.true_class
        source = PictureSource(name, image, figure.image_sha256, true_class, decoding)
        pictures = Pictures(self._recipes, self._facts.options, source, figure.shown, explanation)
        paths = PicturePaths(Path(), name)
        for layer in explanation.layers:
            for kind, draw in self._components(pictures):
                write_into(self._folder, paths.component(layer.name, kind), draw(layer))
        row = succeeded_row(image, name, true_class, explanation, pictures.maps, decoding)
        self._write_main(paths, pictures, {text_keys.ROW: to_json(row_to_json(row))})
        return row

    def _components(self, pictures: Pictures) -> Iterator[tuple[str, Callable[[LayerMap], bytes]]]:
        yield "heatmap", pictures.heatmap
        yield "overlay", pictures.overlay
        if self._style.save_maps:
            yield "map", pictures.grey

    def _write_main(self, paths: PicturePaths, pictures: Pictures, text: dict[str, str]) -> None:
        style = self._style
        dpi = style.paper_dpi or DEFAULT_PAPER_DPI
        if style.paper_format == "pdf":
            write_into(self._folder, paths.main("pdf"), pictures.paper("pdf", dpi, text))
        main = pictures.paper("png", dpi, text) if style.paper_png else pictures.panel(text)
        write_into(self._folder, paths.main(), main)

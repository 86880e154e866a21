"""An answer in the form that was asked for: a picture, JSON, arrays, or everything as a zip."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import quote

import mimeparse
import numpy as np

from cam_engine import text_keys
from cam_engine.images.decoded import DecodedImage
from cam_engine.images.png import MAIN_PREFIX, encode_png
from cam_engine.images.preparing import enhance
from cam_engine.options import CamOptions, DecodingOptions
from cam_engine.outputs.files import file_part
from cam_engine.pictures.picture_set import (
    Pictures,
    PictureSource,
    ShownImage,
    at_most_output,
    to_integers,
)
from cam_engine.pictures.rendering import full_size_map
from cam_engine.pictures.sheet import SheetItem, render_sheet
from cam_engine.results import FloatMap, LayerMap
from service.explanations import responses
from service.explanations.answers import Answer, Explained
from service.explanations.requests import Bits, ExplanationOptions, View
from service.http.problems import ServiceError

Decode = Callable[[bytes, DecodingOptions], DecodedImage]

PNG = "image/png"
JSON = "application/json"
ZIP = "application/zip"
NPY = "application/x-npy"

_SUFFIXES: Mapping[str, str] = MappingProxyType({PNG: "png", JSON: "json", ZIP: "zip", NPY: "npy"})
# What a view is answered with, most wanted first; a picture where nothing else is said.
_OWN_TYPES: Mapping[View, tuple[str, ...]] = MappingProxyType(
    {"array": (NPY,), "maps": (NPY,), "native": (JSON, NPY)}
)
_ONE_DATE = (2000, 1, 1, 0, 0, 0)  # the same answer gives the same bytes


@dataclass(frozen=True, slots=True)
class Representation:
    """A body, its media type, and headers that say what it shows."""

    body: bytes
    media_type: str
    headers: Mapping[str, str]


def negotiate(view: View, accept: str | None) -> str:
    """The media type for a view: its own ones first, then JSON, zip. Raises "not-acceptable"."""
    offers = list(dict.fromkeys((*_OWN_TYPES.get(view, (PNG,)), JSON, ZIP)))
    if not accept:
        return offers[0]
    try:
        # The last of equally wanted ones wins there.
        best = mimeparse.best_match(offers[::-1], accept.lower())
    except (mimeparse.MimeTypeParseException, ValueError) as error:
        raise ServiceError(
            "not-acceptable", f"the Accept header cannot be read: {error}"
        ) from error
    if not best:
        raise ServiceError(
            "not-acceptable", f"view {view} is offered as {', '.join(offers)}; accept one of these"
        )
    return str(best)


def needs_unenhanced(options: ExplanationOptions, media_type: str, *, sheet: bool) -> bool:
    """Whether the answer shows the class that the network would name without CLAHE.

    A picture of one layer does not, and is computed in two thirds of the time for it.
    """
    return options.clahe and (media_type in {JSON, ZIP} or options.view == "panel" or sheet)


def entity_tag(answer: Answer, media_type: str) -> str:
    """A weak ETag, from the answer's digest.

    Weak, since the same pass in a batch of another size may differ in the last bit of a number.
    """
    return f'W/"{answer.digest[:32]}-{_SUFFIXES[media_type]}"'


def represent(answer: Answer, media_type: str, decode: Decode, base: str) -> Representation:
    """Draw and encode; takes milliseconds to seconds, so not for an event loop.

    decode: makes pixels of an image file. base: the path under which a proxy offers the service,
    which links begin with.
    """
    drawn = _Drawings(base, [_DrawnImage(answer, item, decode) for item in answer.items])
    body = _BODIES[media_type](answer, drawn)
    headers = {
        **_headers(answer, media_type),
        "Content-Disposition": _disposition(answer, media_type),
    }
    return Representation(body, media_type, headers)


def base_image(answer: Answer, decode: Decode, *, enhanced: bool) -> bytes:
    """PNG of the image beneath the overlays, at their size. Raises "image-not-found"."""
    if answer.is_sheet:
        raise ServiceError("image-not-found", "a contact sheet has no image of its own")
    if enhanced and not answer.options.clahe:
        raise ServiceError(
            "image-not-found", "enhanced: CLAHE is off in this explanation; ask for enhanced=false"
        )
    large = answer.items[0].large
    if large is not None:
        return large.enhanced if enhanced and large.enhanced is not None else large.original
    pictures = _DrawnImage(answer, answer.items[0], decode).pictures
    shown = pictures.enhanced if enhanced else None
    return encode_png(pictures.original if shown is None else shown)


class _DrawnImage:
    """One image of an answer, its pictures at hand."""

    def __init__(self, answer: Answer, item: Explained, decode: Decode) -> None:
        self._answer = answer
        self._item = item
        self._decode = decode
        self._maps: dict[str, FloatMap] = {}
        self.source = item.source
        self.explanation = item.explanation
        self.shown_layer = item.explanation.layer(answer.options.shown_layer)

    @cached_property
    def pictures(self) -> Pictures:
        """Its pictures; numbers are told without decoding it for them."""
        source, item, answer = self.source, self._item, self._answer
        return Pictures(
            answer.recipes,
            answer.cam_options,
            PictureSource(source.title, source.name, source.sha256, source.true_class, item.facts),
            _shown(item, answer.cam_options, self._decode),
            item.explanation,
            self._maps,
        )

    @property
    def notices(self) -> tuple[str, ...]:
        """What was assumed of its model and its pixels."""
        return self._answer.notices(self._item)

    def values(self, layer: LayerMap) -> FloatMap:
        """(H, W) float32 in 0..1: the layer's map at the pictures' size."""
        if layer.name not in self._maps:
            self._maps[layer.name] = full_size_map(layer, self._item.size)
        return self._maps[layer.name]

    def picture(self, kind: View, bits: Bits) -> bytes:
        match kind:
            case "heatmap":
                return self.pictures.heatmap(self.shown_layer)
            case "map":
                return self.pictures.grey(self.shown_layer, bits)
            case "panel":
                return self.pictures.panel()
            case _:
                return self.pictures.overlay(self.shown_layer)

    def facts(self, answer: Answer) -> responses.ExplainedImage:
        explanation, source = self.explanation, self.source
        unenhanced = explanation.unenhanced
        return responses.ExplainedImage(
            image=responses.Image(
                name=source.name,
                sha256=source.sha256,
                true_class=source.true_class,
                decoding=responses.decoding(self._item.facts),
            ),
            notices=[*self.notices],
            prediction=responses.score(explanation.predicted),
            target=responses.score(explanation.target),
            top_classes=[responses.score(score) for score in explanation.top],
            unenhanced=None if unenhanced is None else responses.score(unenhanced),
            clahe_changed_class=explanation.clahe_changed_class,
            picture_size=self._item.size,
            layers=[self._layer_facts(layer) for layer in explanation.layers],
            pictures={
                kind: responses.EncodedPicture(
                    media_type=PNG,
                    base64=base64.b64encode(self.picture(kind, answer.options.bits)).decode(),
                )
                for kind in answer.options.pictures
            },
        )

    def _layer_facts(self, layer: LayerMap) -> responses.Layer | responses.NativeLayer:
        facts = responses.layer(layer, self.values(layer))
        if self._answer.options.view != "native":
            return facts
        source, target = self.source, self.explanation.target
        recipe = self._answer.recipes.text(
            source.name, source.sha256, target, layer, self._item.facts
        )
        return responses.native(facts, layer, recipe)

    def files(self) -> Mapping[str, bytes]:
        """The documented tree of one image's pictures."""
        name = file_part(self.source.title)
        files = {}
        for layer in self.explanation.layers:
            stem = f"components/{name}_{file_part(layer.name)}"
            files[f"{stem}_heatmap.png"] = self.pictures.heatmap(layer)
            files[f"{stem}_overlay.png"] = self.pictures.overlay(layer)
            files[f"{stem}_map.png"] = self.pictures.grey(layer)
        files[f"{MAIN_PREFIX}{name}.png"] = self.pictures.panel()
        return files


class _Drawings(NamedTuple):
    """An answer's images, and the path that links begin with."""

    base: str
    images: list[_DrawnImage]


def _shown(item: Explained, options: CamOptions, decode: Decode) -> ShownImage:
    if item.large is not None:
        return item.large.shown
    if item.shown is not None:
        return item.shown
    original = decode(item.source.data, options.decoding).pixels
    return at_most_output(ShownImage(original, enhance(original) if options.clahe else None))


def _picture_body(answer: Answer, drawn: _Drawings) -> bytes:
    view, bits = answer.options.view, answer.options.bits
    if answer.heading is not None:
        return _sheet(answer, drawn, answer.heading)
    return drawn.images[0].picture(view, bits)


def _sheet(answer: Answer, drawn: _Drawings, heading: str) -> bytes:
    items = [
        SheetItem(
            original=image.pictures.original,
            explanation=image.explanation,
            values=image.values(image.shown_layer),
            title=image.source.title,
            true_class=image.source.true_class,
            assumed=image.notices,
        )
        for image in drawn.images
    ]
    layer, name = answer.options.shown_layer, answer.model.name
    experiment = heading.rsplit("/", 1)[-1]
    pixels = render_sheet(items, layer, answer.cam_options, name, experiment)
    target, source = drawn.images[0].explanation.target, drawn.images[0].source
    text = answer.recipes.text(source.name, source.sha256, target, None, answer.items[0].facts)
    return encode_png(
        pixels, text={**text, text_keys.IMAGES: ", ".join(d.source.name for d in drawn.images)}
    )


def _array_body(answer: Answer, drawn: _Drawings) -> bytes:
    image = drawn.images[0]
    if answer.options.view == "array":
        return _npy(image.values(image.shown_layer))
    return _npy(np.stack([to_integers(image.values(layer)) for layer in image.explanation.layers]))


def _npy(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _json_body(answer: Answer, drawn: _Drawings) -> bytes:
    label = answer.model
    model = responses.Model(
        id=label.id, name=label.name, architecture=label.architecture, sha256=label.sha256
    )
    links = {
        "self": f"{drawn.base}/v1/explanations/{answer.digest}",
        "model": f"{drawn.base}/v1/models/{quote(label.id)}",
    }
    images = [image.facts(answer) for image in drawn.images]
    body: responses.ExplanationAnswer | responses.SheetAnswer
    if answer.heading is not None:
        body = responses.SheetAnswer(
            digest=answer.digest,
            model=model,
            experiment=answer.heading,
            layer=answer.options.shown_layer,
            options=answer.options,
            images=images,
            links=links,
        )
    else:
        body = responses.ExplanationAnswer(
            **dict(images[0]),
            digest=answer.digest,
            model=model,
            layer=answer.options.shown_layer,
            method=drawn.images[0].shown_layer.method,
            options=answer.options,
            links=links,
        )
    return body.model_dump_json().encode()


def _zip_body(answer: Answer, drawn: _Drawings) -> bytes:
    files = {"explanation.json": _json_body(answer, drawn)}
    for number, drawing in enumerate(drawn.images, start=1):
        # Images of a sheet may share a name.
        folder = f"{number:02d}_{file_part(drawing.source.title)}/" if answer.is_sheet else ""
        files |= {f"{folder}{name}": data for name, data in drawing.files().items()}
    if answer.is_sheet:
        files["contact_sheet.png"] = _picture_body(answer, drawn)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:  # PNGs are compressed
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, _ONE_DATE), data)
    return buffer.getvalue()


_BODIES: Mapping[str, Callable[[Answer, _Drawings], bytes]] = MappingProxyType(
    {PNG: _picture_body, NPY: _array_body, JSON: _json_body, ZIP: _zip_body}
)


def _headers(answer: Answer, media_type: str) -> dict[str, str]:
    """What pictures cannot say; names percent-encoded, since headers are ASCII."""
    layers = answer.items[0].explanation.layers
    headers = {
        "X-Gradcam-Model": quote(answer.model.id),
        "X-Gradcam-Layer": quote(answer.options.shown_layer),
        "X-Gradcam-Method": answer.items[0].explanation.layer(answer.options.shown_layer).method,
        "X-Gradcam-Layers": ",".join(quote(layer.name) for layer in layers),
    }
    if answer.is_sheet:
        return {**headers, "X-Gradcam-Images": str(len(answer.items))}
    return headers | _prediction_headers(answer, media_type)


def _prediction_headers(answer: Answer, media_type: str) -> dict[str, str]:
    explanation = answer.items[0].explanation
    shown: LayerMap = explanation.layer(answer.options.shown_layer)
    headers = {
        "X-Gradcam-Prediction": quote(explanation.predicted.name, safe=""),
        "X-Gradcam-Probability": f"{explanation.predicted.probability:.6f}",
        "X-Gradcam-Target": quote(explanation.target.name, safe=""),
        "X-Gradcam-Target-Probability": f"{explanation.target.probability:.6f}",
        "X-Gradcam-Grid": f"{shown.grid[0]}x{shown.grid[1]}",
        "X-Gradcam-Empty": str(shown.empty).lower(),
    }
    if needs_unenhanced(answer.options, media_type, sheet=False):
        changed = str(explanation.clahe_changed_class).lower()
        headers["X-Gradcam-Clahe-Changed-Class"] = changed
    if said := answer.notices(answer.items[0]):
        headers["X-Gradcam-Notices"] = ",".join(quote(notice, safe="") for notice in said)
    return headers


def _disposition(answer: Answer, media_type: str) -> str:
    stem = "contact_sheet" if answer.is_sheet else answer.items[0].source.title
    view = "maps" if answer.options.view == "native" else answer.options.view
    what = view if media_type in {PNG, NPY} else "gradcam"
    name = quote(f"{stem}_{what}.{_SUFFIXES[media_type]}", safe="")
    return f"{'attachment' if media_type == ZIP else 'inline'}; filename*=UTF-8''{name}"

"""One drawn crop of a Giemsa-stained blood smear, with the true outline of its parasite."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import parasites
from canvas import CROP_SIDE_PX, OVERSAMPLING, Array, Canvas, Polygon, Rng, random_light
from cells import CellTraits, draw_cell, draw_distractors, draw_neighbours, mottle
from numpy.typing import NDArray

LEAST_OFFSET_PX = 46.0
JPEG_QUALITY = (80, 93)


@dataclass(frozen=True)
class Kind:
    """A class of crops: its name and number, its parasite's form and its host cell's traits.

    Numbers follow the textbook's order, not the alphabet, as they do in real label files.
    """

    name: str
    class_id: int
    form: parasites.Form
    host: CellTraits


@dataclass(frozen=True)
class Crop:
    """A drawn crop as JPEG bytes (RGB, CROP_SIDE_PX square) and its parasite's mask, 0 or 255."""

    jpeg: bytes
    mask: NDArray[np.uint8]


ANY_CELL = CellTraits(enlarged=0.3, oval=0.25, stippled=0.25)
HEALTHY = CellTraits(enlarged=0.15, oval=0.2, stippled=0.12)

LIFECYCLE = (
    Kind("gametocyte", 3, parasites.gametocyte, ANY_CELL),
    Kind("ring", 0, parasites.ring, ANY_CELL),
    Kind("schizont", 2, parasites.schizont, ANY_CELL),
    Kind("trophozoite", 1, parasites.trophozoite, ANY_CELL),
)
SPECIES = (
    Kind("falciparum", 0, parasites.falciparum, CellTraits(enlarged=0.2, oval=0.2, stippled=0.2)),
    Kind("malariae", 3, parasites.malariae, CellTraits(enlarged=0.2, oval=0.2, stippled=0.2)),
    Kind("ovale", 2, parasites.ovale, CellTraits(enlarged=0.4, oval=0.6, stippled=0.5)),
    Kind("vivax", 1, parasites.vivax, CellTraits(enlarged=0.7, oval=0.25, stippled=0.7)),
)


def draw_crop(kind: Kind, rng: Rng) -> Crop:
    """Draw a crop of this kind; equal generators draw equal crops."""
    canvas, light = Canvas(), random_light(rng)
    radius_px = rng.uniform(40, 50)
    cell = draw_cell(canvas, rng, _off_centre(rng, radius_px), radius_px, kind.host)
    draw_neighbours(canvas, rng, cell, HEALTHY)
    mottle(canvas, rng)
    body = kind.form(canvas, rng, cell)
    mask = _mask_of(body)
    draw_distractors(canvas, rng, keep_clear=_grown(mask, 9))
    return Crop(_jpeg(canvas.render(light, rng), rng), mask)


def decode_rgb(jpeg: bytes) -> NDArray[np.uint8]:
    """JPEG bytes -> RGB (h, w, 3)."""
    bgr = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def _off_centre(rng: Rng, radius_px: float) -> Polygon:
    """Pick a place for the infected cell, LEAST_OFFSET_PX or more from the crop's middle."""
    margin = 0.95 * radius_px
    while True:
        centre = rng.uniform(margin, CROP_SIDE_PX - margin, 2)
        if np.linalg.norm(centre - CROP_SIDE_PX / 2) >= LEAST_OFFSET_PX:
            return centre


def _mask_of(body: Array) -> NDArray[np.uint8]:
    """Fill the parasite's outline, at the crop's size."""
    fine = (body > 0.4).astype(np.uint8)
    outlines, _ = cv2.findContours(fine, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(fine, outlines, -1, 1, cv2.FILLED)
    share = cv2.resize(fine * 255, (CROP_SIDE_PX, CROP_SIDE_PX), interpolation=cv2.INTER_AREA)
    return np.where(share > 127, 255, 0).astype(np.uint8)


def _grown(mask: NDArray[np.uint8], margin_px: int) -> Array:
    """Dilate the mask, at the canvas's size, 0 or 1."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin_px + 1, 2 * margin_px + 1))
    grown = np.repeat(np.repeat(cv2.dilate(mask, disc), OVERSAMPLING, axis=0), OVERSAMPLING, axis=1)
    return (grown > 0).astype(np.float32)


def _jpeg(rgb: NDArray[np.uint8], rng: Rng) -> bytes:
    quality = int(rng.integers(*JPEG_QUALITY))
    done, encoded = cv2.imencode(
        ".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    if not done:
        raise ValueError("OpenCV could not encode a crop as JPEG")
    return encoded.tobytes()

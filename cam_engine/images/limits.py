"""What is refused before it is decoded: files, sizes and memory beyond limits."""

from __future__ import annotations

from dataclasses import dataclass

from cam_engine.errors import ImageTooLarge, InvalidImage, InvalidOption

_LEAST_DECODING_BYTES = 64 * 2**20

# What decoding takes for a pixel: Pillow's own picture (four bytes in colour), and our RGB.
PLAIN_BYTES, RGB_BYTES = 4, 3


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What is refused before it is decoded.

    max_bytes: the file's size (64 MiB). max_pixels: width times height (50 million: the largest
    cameras on microscopes; as 8-bit RGB 150 MB). TIFF and WebP are also bounded by twice
    `PIL.Image.MAX_IMAGE_PIXELS`. Memory and work that small files can ask for follow from these.
    """

    max_bytes: int = 64 * 2**20
    max_pixels: int = 50_000_000

    def __post_init__(self) -> None:
        """Refuse limits that let nothing through. Raises InvalidOption."""
        if self.max_bytes < 1 or self.max_pixels < 1:
            raise InvalidOption(f"image limits must be at least 1, got {self}")

    @property
    def decoding_bytes(self) -> int:
        """Memory that decoding may take beside the file: 10 bytes for each pixel allowed.

        8-bit pictures take 7, or 10 as a progressive JPEG of the usual kind.
        """
        return max(_LEAST_DECODING_BYTES, 10 * self.max_pixels)


DEFAULT_LIMITS = ImageLimits()


def check_bytes(size: int, limits: ImageLimits) -> None:
    """Refuse a file of no bytes or too many. Raises InvalidImage or ImageTooLarge."""
    if size == 0:
        raise InvalidImage("the image is empty (0 bytes); send it again")
    if size > limits.max_bytes:
        raise ImageTooLarge(
            f"{size:,} bytes are more than the {limits.max_bytes:,} allowed; "
            "crop the image or save it compressed"
        )


def check_pixels(width: int, height: int, limits: ImageLimits) -> None:
    """Refuse a picture of no pixels or too many. Raises InvalidImage or ImageTooLarge."""
    if width < 1 or height < 1:
        raise InvalidImage(f"the image has no pixels ({width} x {height}); save it again")
    if width * height > limits.max_pixels:
        raise ImageTooLarge(
            f"{width:,} x {height:,} pixels are more than the {limits.max_pixels:,} allowed; "
            "crop the image or make it smaller"
        )


def check_memory(needed: int, what: str, limits: ImageLimits) -> None:
    """Refuse what would take more than `limits.decoding_bytes`; what: the picture's kind.

    Raises ImageTooLarge.
    """
    if needed > limits.decoding_bytes:
        raise ImageTooLarge(
            f"decoding {what} of this size takes {needed:,} bytes of memory, more than the "
            f"{limits.decoding_bytes:,} allowed; make it smaller, or save it as PNG or TIFF with "
            "8 bits a channel"
        )


def deep_bytes(bits: int, copies: int) -> int:
    """What OpenCV takes for a pixel of so many bits, as often; or once, and our RGB."""
    samples = -(-bits // 8)
    return max(copies * samples, samples + RGB_BYTES)

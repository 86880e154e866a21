"""Decodes images of untrusted origin in processes of their own, each ended at its limits.

A decoder is native code that cannot be interrupted: in a thread, an image made to be dear holds the
thread, and the memory is the whole program's. See docs/decisions/0017-decoding-processes.md.
"""

from __future__ import annotations

import os
import signal

import numpy as np

from cam_engine.errors import CamError, ImageTooLarge, InvalidImage, PageNotFound
from cam_engine.images.decoded import DecodedImage
from cam_engine.images.decoding_process import Refusal, Reply, Task, read_reply
from cam_engine.images.limits import DEFAULT_LIMITS, ImageLimits, check_bytes
from cam_engine.options import DEFAULT_DECODING, DecodingOptions
from cam_engine.process.children import Child, Children, TooSlow, read_exactly, write_all

DEFAULT_SECONDS = 5.0
_PATIENCE = 4.0
_LONGEST_REPLY_BYTES = 2**16
_REFUSALS: dict[str, type[CamError]] = {
    kind.code: kind for kind in (InvalidImage, ImageTooLarge, PageNotFound)
}


def default_processes() -> int:
    """By cores, 2 to 4: one decodes thousands of crops a second, but a large image holds it."""
    return max(2, min(4, os.cpu_count() or 2))


class DecodingPool:
    """Processes that decode images; safe in any thread.

    They are started when they are first needed, or by `start`, and end with the pool, at the latest
    with the process that made it.
    """

    def __init__(
        self,
        processes: int | None = None,
        seconds: float = DEFAULT_SECONDS,
        clock_seconds: float | None = None,
    ) -> None:
        """`processes`: how many images are decoded at once; default: by cores.

        seconds: of a processor that one image may take. clock_seconds: the same by the clock, which
        also runs while others have the processors; default: four times as many.
        """
        self._decoders = Children(_Decoder, processes or default_processes())
        self._seconds = seconds
        self._clock_seconds = clock_seconds or _PATIENCE * seconds

    @property
    def size(self) -> int:
        """How many images are decoded at once."""
        return self._decoders.size

    @property
    def pids(self) -> list[int]:
        """Ids of the processes that there are at this moment."""
        return self._decoders.pids

    def start(self) -> None:
        """Have all processes started, without waiting for them."""
        self._decoders.start()

    def decode(
        self,
        data: bytes,
        limits: ImageLimits = DEFAULT_LIMITS,
        options: DecodingOptions = DEFAULT_DECODING,
    ) -> DecodedImage:
        """What `decoding.decode` answers and raises; waits for its turn.

        Beyond its seconds, or where the decoder crashes, its process is ended and another takes its
        place. Raises InvalidImage then.
        """
        check_bytes(len(data), limits)
        with self._decoders.one() as decoder:
            answer = decoder.decode(data, limits, options, self._seconds, self._clock_seconds)
        if isinstance(answer, CamError):
            raise answer
        return answer

    def close(self) -> None:
        """End all processes, also those that are at work."""
        self._decoders.close()


class _Decoder(Child):
    """One process."""

    def __init__(self) -> None:
        super().__init__("cam_engine.images.decoding_process")

    def decode(
        self,
        data: bytes,
        limits: ImageLimits,
        options: DecodingOptions,
        seconds: float,
        clock_seconds: float,
    ) -> DecodedImage | CamError:
        """The pixels, or why it was refused."""
        write_all(self.file, memoryview(data))
        task = Task(len(data), limits.max_bytes, limits.max_pixels, seconds, options)
        try:
            reply = read_reply(self.ask(task.to_bytes(), _LONGEST_REPLY_BYTES, clock_seconds))
        except TooSlow:
            raise _took_too_long(clock_seconds) from None
        except (EOFError, OSError) as error:
            raise self._ended(seconds) from error
        except (KeyError, TypeError, ValueError) as error:
            raise _nonsense() from error
        answer = self._answer(reply, limits)
        os.ftruncate(self.file, 0)
        return answer

    def _answer(self, reply: Reply, limits: ImageLimits) -> DecodedImage | CamError:
        if isinstance(reply, Refusal):
            return _REFUSALS.get(reply.code, InvalidImage)(reply.message)
        # What has read hostile bytes is not believed.
        if not 0 < reply.height * reply.width <= limits.max_pixels:
            raise _nonsense()
        image = np.empty((reply.height, reply.width, 3), np.uint8)
        read_exactly(self.file, image.reshape(-1).data)
        return DecodedImage(image, reply.facts)

    def _ended(self, seconds: float) -> InvalidImage:
        code = self.status()
        if code == -signal.SIGPROF:
            return _took_too_long(seconds)
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with status {code}"
        return InvalidImage(
            f"the decoder ended {how} while it read this image; save it again as PNG"
        )


def _nonsense() -> InvalidImage:
    return InvalidImage("the decoder answered nonsense; save the image again as PNG")


def _took_too_long(seconds: float) -> InvalidImage:
    return InvalidImage(
        f"decoding it took longer than {seconds:g} s; save it again as PNG or baseline JPEG, or "
        "make it smaller"
    )

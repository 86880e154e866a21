"""The process that decodes, alone: what is said to it and what it says, byte by byte."""

from __future__ import annotations

import io
import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection

import numpy as np
import pytest
from PIL import Image

from cam_engine.errors import InvalidImage
from cam_engine.images.decoding import DEFAULT_LIMITS, ImageLimits, decode, decode_image
from cam_engine.images.decoding_process import (
    Pixels,
    Refusal,
    Reply,
    Task,
    read_reply,
)
from cam_engine.options import DEFAULT_DECODING, DecodingOptions
from cam_engine.process.children import read_exactly, write_all
from tests.hostile_images import encoded, hostile

SMALL = encoded("RGB", 16, "PNG")
NARROW = ImageLimits(max_bytes=10_000, max_pixels=1000)


@dataclass
class Decoder:
    """A process, its socket, and the file that both have open."""

    process: subprocess.Popen[bytes]
    connection: Connection
    file: int

    def ask(
        self,
        data: bytes,
        limits: ImageLimits = DEFAULT_LIMITS,
        options: DecodingOptions = DEFAULT_DECODING,
        seconds: float = 300.0,
    ) -> Reply:
        os.pwrite(self.file, data, 0)
        task = Task(len(data), limits.max_bytes, limits.max_pixels, seconds, options)
        self.connection.send_bytes(task.to_bytes())
        return read_reply(self.connection.recv_bytes())


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    with started() as made:
        yield made


@contextmanager
def started() -> Iterator[Decoder]:
    """One that has said that it is ready."""
    ours, theirs = Pipe()
    with tempfile.TemporaryFile() as file, ours:
        descriptors = (theirs.fileno(), file.fileno())
        command = ["-m", "cam_engine.images.decoding_process", *map(str, descriptors)]
        with subprocess.Popen([sys.executable, *command], pass_fds=descriptors) as process:
            theirs.close()
            try:
                assert ours.recv_bytes() == b"ready"
                yield Decoder(process, ours, file.fileno())
            finally:
                process.kill()


def test_the_pixels_stand_where_the_image_stood(decoder: Decoder) -> None:
    data = hostile("png of 4 million pixels")
    reply = decoder.ask(data)
    expected, facts = decode(data)
    assert reply == Pixels(expected.shape[0], expected.shape[1], facts)
    pixels = np.empty_like(expected)
    read_exactly(decoder.file, pixels.reshape(-1).data)
    np.testing.assert_array_equal(pixels, expected)
    assert os.fstat(decoder.file).st_size == expected.nbytes


def test_nothing_of_the_image_before_is_left(decoder: Decoder) -> None:
    decoder.ask(hostile("png of 4 million pixels"))
    decoder.ask(SMALL)
    assert os.fstat(decoder.file).st_size == 16 * 16 * 3
    decoder.ask(b"no image")
    assert os.fstat(decoder.file).st_size == 0


def test_a_refusal_has_the_errors_code_and_words_and_the_next_is_decoded(decoder: Decoder) -> None:
    with pytest.raises(InvalidImage) as here:
        decode_image(SMALL[:-30])
    assert decoder.ask(SMALL[:-30]) == Refusal("invalid-image", str(here.value))
    assert isinstance(decoder.ask(SMALL), Pixels)


def test_only_so_many_bytes_as_were_said_are_the_image(decoder: Decoder) -> None:
    os.pwrite(decoder.file, SMALL, 0)
    assert isinstance(decoder.ask(SMALL[:-30]), Refusal)


def test_limits_and_options_are_those_of_the_message(decoder: Decoder) -> None:
    refused = decoder.ask(SMALL, ImageLimits(max_pixels=255))
    assert isinstance(refused, Refusal)
    assert "16 x 16 pixels are more than the 255" in refused.message
    half_clear = Image.merge("LA", [Image.linear_gradient("L")] * 2)
    half_clear.save(buffer := io.BytesIO(), "PNG")
    for background in ("white", "black"):
        reply = decoder.ask(buffer.getvalue(), options=DecodingOptions(background=background))
        assert isinstance(reply, Pixels)
        assert reply.facts.alpha == background


def test_one_that_takes_more_than_its_seconds_is_ended(decoder: Decoder) -> None:
    with pytest.raises(EOFError):
        decoder.ask(hostile("deep png of 4 million pixels"), seconds=0.01)
    assert decoder.process.wait() == -signal.SIGPROF


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how much a process has")
def test_memory_is_bounded_by_what_the_limits_allow(decoder: Decoder) -> None:
    import resource

    def bound() -> int:
        return resource.prlimit(decoder.process.pid, resource.RLIMIT_DATA)[0]

    assert bound() == resource.getrlimit(resource.RLIMIT_DATA)[0]  # inherited
    decoder.ask(SMALL, NARROW)
    narrow = bound()
    decoder.ask(SMALL, DEFAULT_LIMITS)
    wide = bound()
    assert 0 < narrow < wide
    allowed = [limits.decoding_bytes + 2 * limits.max_bytes for limits in (NARROW, DEFAULT_LIMITS)]
    assert wide - narrow == allowed[1] - allowed[0]
    decoder.ask(SMALL, NARROW)
    assert bound() == narrow


def test_it_ends_with_its_socket_and_by_nothing_that_a_terminal_says(decoder: Decoder) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        decoder.process.send_signal(number)
    assert isinstance(decoder.ask(SMALL), Pixels)
    decoder.connection.close()
    assert decoder.process.wait(timeout=60) == 0


def test_it_imports_no_torch() -> None:
    said = (
        "import sys, cam_engine.images.decoding_process\n"
        "print([name for name in ('torch', 'torchvision', 'fastapi') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", said], check=True, capture_output=True)
    assert answer.stdout == b"[]\n"


def test_a_task_is_the_same_after_its_travel() -> None:
    options = DecodingOptions(intensity="min-max", background="black", page=3, depth_bits=12)
    task = Task(5, 10, 20, 0.5, options)
    assert Task.from_bytes(task.to_bytes()) == task


@pytest.mark.parametrize(
    "message",
    [
        pickle.dumps({"code": "x", "message": "y"}),
        b"",
        b"[]",
        b"{}",
        b'{"code": "invalid-image"}',
        b'{"height": 1, "width": 1}',
        b'{"height": "many", "width": 1, "facts": {}}',
    ],
)
def test_what_is_no_reply_is_not_taken_for_one(message: bytes) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        read_reply(message)


def test_numbers_and_words_of_a_reply_are_those() -> None:
    facts = asdict(decode(SMALL).facts)
    message = json.dumps({"height": "16", "width": 16.0, "facts": facts}).encode()
    reply = read_reply(message)
    assert isinstance(reply, Pixels)
    assert [(type(side), side) for side in (reply.height, reply.width)] == [(int, 16), (int, 16)]
    assert read_reply(b'{"code": 5, "message": null}') == Refusal("5", "None")


def test_a_file_is_read_and_written_whole_from_its_beginning() -> None:
    with tempfile.TemporaryFile() as file:
        os.lseek(file.fileno(), 100, os.SEEK_SET)  # where a descriptor stands is nobody's business
        write_all(file.fileno(), memoryview(b"0123456789"))
        buffer = bytearray(10)
        read_exactly(file.fileno(), memoryview(buffer))
        assert buffer == b"0123456789"
        with pytest.raises(ValueError, match="shorter than was said"):
            read_exactly(file.fileno(), memoryview(bytearray(11)))

"""The load test's arithmetic by hand, and its client against real servers."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path

import numpy as np
import pytest

from benchmarks import load_client as client
from benchmarks import load_report as report
from benchmarks.load_processes import Cores, ServedModel, missing_packages, peer
from processes.serving import running

PNG = b"\x89PNG\r\n\x1a\n..."


def run_of(*answers: tuple[int, float, float], start: float = 100.0) -> client.Run:
    """Answers as (status, asked, answered) in seconds after the start."""
    replies = [client.Reply(status, start + one, start + two) for status, one, two in answers]
    return client.Run(start, tuple(replies), client_seconds=0.0)


def test_percentile_by_hand_and_as_numpy_has_it() -> None:
    assert report.percentile([4.0, 1.0, 3.0, 2.0], 50) == 2.0
    assert report.percentile([4.0, 1.0, 3.0, 2.0], 99) == 4.0
    values = np.random.default_rng(0).normal(size=333)
    for percent in (1, 50, 90, 99, 100):
        expected = np.percentile(values, percent, method="inverted_cdf")
        assert report.percentile(list(values), percent) == expected


def test_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="of 0 values"):
        report.percentile([], 50)


def test_rates_by_hand() -> None:
    run = run_of((200, 0, 1.0), (200, 0, 2.0), (503, 1, 1.5), (200, 1, 4.0))
    assert run.per_second == pytest.approx(3 / 4)
    assert run.good_within(1.0, 4.0) == 2
    assert run.seconds_of(503) == pytest.approx([0.5])
    assert run_of((503, 0, 1.0)).per_second == 0


def test_ratios_and_goodput_by_hand() -> None:
    service = run_of((200, 0, 1.0), (200, 0, 2.0))  # 1 a second
    slow = run_of((200, 0, 4.0))  # 1/4 a second
    overload = run_of(
        (200, 0, 1.0),  # in the first fifth: left out
        (200, 0, 2.0),
        (200, 0, 9.0),
        (503, 3, 3.01),
        (200, 9, 10.5),  # after the end: left out
    )
    turn = report.Turn(service, 2.0, slow, service, slow, overload)
    assert turn.of_the_engine == pytest.approx(0.5)
    assert turn.of_unbatched == pytest.approx(4.0)
    assert turn.of_litserve(service) == pytest.approx(4.0)
    client = report.OneClient(
        (0.11, 0.25, 0.32), (0.1, 0.2, 0.3), 3, dict.fromkeys(report.STEPS, 1.0)
    )
    assert client.above_ms == pytest.approx(20.0)
    measured = report.Measured("net", client, (turn, turn), overload_seconds=10.0)
    assert measured.goodput_per_second == pytest.approx(2 / 8)
    assert measured.peak_per_second == pytest.approx(1.0)

    assert "20.00 (<= 15.0, NOT REACHED)" in report.one_client_table([measured])[-2]
    (row,) = report.closed_loop_table([measured], 2)[4:-1]
    assert "0.50 (>= 0.85, NOT REACHED)" in row
    assert "4.00 (>= 2.0)" in report.litserve_table([measured], 2)[-2]
    alone = replace(measured, turns=(replace(turn, litserve=None),))
    assert "not installed" in report.litserve_table([alone], 2)[0]
    (row,) = report.overload_table([measured], 4.0)[4:-1]
    assert "0.25 (>= 0.9, NOT REACHED)" in row
    assert "10.00 (<= 50.0)" in row


def test_memory_growth_by_hand() -> None:
    lines = report.memory_table([(100, 200 * 2**20), (550, 250 * 2**20), (1000, 202 * 2**20)])
    assert "between request 100 and request 1000 grows by 1.00 (<= 2.0) percent" in lines[0]


def test_a_request_is_what_others_read_in_it() -> None:
    image = bytes(range(256))
    post = client.multipart_post("http://localhost:81/v1/explanations", image, {"model": "a/b"})
    request = post.named(client.file_name(7))
    head, _, body = request.partition(b"\r\n\r\n")
    first, _, headers = head.partition(b"\r\n")
    assert first == b"POST /v1/explanations HTTP/1.1"
    message = BytesParser(policy=HTTP).parsebytes(headers + b"\r\n\r\n" + body)
    assert int(message["Content-Length"]) == len(body)
    assert message["Host"] == "localhost:81"
    model, upload = message.iter_parts()
    assert model.get_param("name", header="content-disposition") == "model"
    assert model.get_content() == "a/b"
    assert upload.get_param("name", header="content-disposition") == "image"
    assert upload.get_filename() == client.file_name(7)
    assert upload.get_payload(decode=True) == image


def test_no_request_is_sent_twice() -> None:
    uploads = client.Uploads("http://localhost:81/", [b"one", b"two"], {})
    assert len({next(uploads) for _ in range(10)}) == 10


Answer = Callable[[], Awaitable[tuple[int, bytes]]]


@asynccontextmanager
async def answering(answer: Answer, requests_a_connection: int = 1000) -> AsyncIterator[str]:
    """A small HTTP server; it closes a connection after so many requests."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for _ in range(requests_a_connection):
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                status, body = await answer()
                said = f"HTTP/1.1 {status} ...\r\ncontent-length: {len(body)}\r\n\r\n"
                writer.write(said.encode() + body)
        except asyncio.IncompleteReadError:  # the client has gone
            pass
        finally:
            writer.close()
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    await asyncio.sleep(0.05)  # its connections end


def test_an_open_loop_keeps_its_pace_and_counts_from_when_requests_were_due() -> None:
    async def scenario() -> client.Run:
        busy = asyncio.Lock()

        async def answer() -> tuple[int, bytes]:
            if busy.locked():
                return 503, b""
            async with busy:
                await asyncio.sleep(0.1)
            return 200, PNG

        # Connections that end after two requests: others are opened in their places.
        async with answering(answer, requests_a_connection=2) as url:
            return await client.open_loop(client.Uploads(url, [b"image"], {}), 40.0, 1.0, 4)

    run = asyncio.run(scenario())
    assert len(run.replies) == 40
    due = sorted(reply.asked - run.start for reply in run.replies)
    assert due == pytest.approx([number / 40 for number in range(40)])
    good, refused = run.seconds_of(200), run.seconds_of(503)
    assert len(good) + len(refused) == 40
    assert 3 <= len(good) <= 10
    assert min(good) >= 0.1


def test_a_closed_loop_has_so_many_requests_under_way() -> None:
    async def scenario() -> tuple[client.Run, int]:
        under_way, most = 0, 0

        async def answer() -> tuple[int, bytes]:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.01)
            under_way -= 1
            return 200, PNG

        async with answering(answer) as url:
            run = await client.closed_loop(client.Uploads(url, [b"image"], {}), 5, 23)
        return run, most

    run, most = asyncio.run(scenario())
    assert len(run.replies) == 23
    assert most == 5


def test_an_answer_that_is_no_picture_is_an_error() -> None:
    async def scenario() -> None:
        async def answer() -> tuple[int, bytes]:
            return 200, b"<html>"

        async with answering(answer) as url:
            uploads = client.Uploads(url, [b"image"], {})
            await client.one_by_one(url, [next(uploads)])

    with pytest.raises(ValueError, match="no PNG"):
        asyncio.run(scenario())


def test_what_is_started_while_serving_stays_on_its_core() -> None:
    try:
        cores = Cores.choose()
    except RuntimeError as error:
        pytest.skip(str(error))
    before = os.sched_getaffinity(0)
    program = "import os; print(sorted(os.sched_getaffinity(0)))"
    with cores.serving():
        shown = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert shown.stdout.decode().strip() == str([cores.server])
    assert cores.client != cores.server
    assert os.sched_getaffinity(0) == before


def test_packages_that_are_not_installed_are_named() -> None:
    assert missing_packages(("pytest", "no_such_package_here")) == ["no_such_package_here"]


@pytest.fixture
def model(lifecycle: Path) -> ServedModel:
    return ServedModel(lifecycle / "cls_mobilenet_v3_small_cb" / "best.pt")


@pytest.fixture
def images(lifecycle: Path) -> list[bytes]:
    crops = lifecycle / "crops_gt_crops" / "crops" / "test"
    return [path.read_bytes() for path in sorted(crops.rglob("*.jpg"))[:6]]


@pytest.mark.system
@pytest.mark.usefixtures("one_thread")  # as the service has it: sums round the same way
def test_the_service_answers_the_client_with_the_engines_own_pictures(
    model: ServedModel, images: list[bytes], tmp_path: Path
) -> None:
    from benchmarks.load_engine import Drawer

    with running(model.data, tmp_path, device="cpu", default_model=model.id) as server:
        uploads = client.Uploads(f"{server.url}/v1/explanations", images, {"model": model.id})
        names = [client.file_name(number) for number in range(len(images))]
        requests = [post.named(name) for post, name in zip(uploads.posts, names, strict=True)]
        replies = asyncio.run(client.one_by_one(server.url, requests))
        together = asyncio.run(client.closed_loop(uploads, 4, 24))
    drawer = Drawer(model.checkpoint, model.id)
    expected = [
        drawer.overlays([(image, name)])[0] for image, name in zip(images, names, strict=True)
    ]
    digests = [hashlib.sha256(reply.body or b"").hexdigest() for reply in replies]
    assert digests == [hashlib.sha256(png).hexdigest() for png in expected]
    assert [reply.status for reply in together.replies] == [200] * 24


@pytest.mark.system
def test_an_overloaded_service_answers_some_and_refuses_the_rest(
    model: ServedModel, images: list[bytes], tmp_path: Path
) -> None:
    settings = {"default_model": model.id, "max_in_flight": "2"}
    with running(model.data, tmp_path, device="cpu", **settings) as server:
        uploads = client.Uploads(f"{server.url}/v1/explanations", images, {"model": model.id})
        run = asyncio.run(client.open_loop(uploads, 400.0, 0.5, 16))
    assert {reply.status for reply in run.replies} == {200, 503}
    assert len(run.replies) == 200


@pytest.mark.system
def test_the_peer_answers_with_a_picture(
    model: ServedModel, images: list[bytes], tmp_path: Path
) -> None:
    if missing := missing_packages():
        pytest.skip(f"not installed: {', '.join(missing)}")
    try:
        cores = Cores.choose()
    except RuntimeError as error:
        pytest.skip(str(error))
    with peer(model, cores, tmp_path) as litserve, litserve.awake():
        run = asyncio.run(client.closed_loop(client.Uploads(litserve.url, images, {}), 4, 8))
    assert [reply.status for reply in run.replies] == [200] * 8

"""A bucket's files in a local folder."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from obstore.store import S3Store

from cam_engine.errors import DataUnavailable
from cam_engine.stores import fetching
from cam_engine.stores.fetching import BY_NAME, WHOLE, Changed
from cam_engine.stores.mirror import Mirror
from processes.redis_server import free_port
from tests.buckets import Bucket, requests_of

EXPERIMENT = "run/experiments/experiment_x"


def names_below(folder: Path) -> set[str]:
    return {f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file()}


def test_an_experiment_has_its_classifiers_and_crops_and_nothing_else(
    bucket: Bucket, mirror: Mirror
) -> None:
    wanted = {"cls_a/best.pt", "cls_a/best.json", "crops_gt_crops/test/ring/1.jpg"}
    for key in (*wanted, "cls_notes.txt/x", "clt/y", "gradcam_visualizations/z.png", "det/best.pt"):
        bucket.put(f"{EXPERIMENT}/{key}", key.encode())
    folder = mirror.root / EXPERIMENT
    assert mirror.look_at_experiment(folder) == ()
    assert names_below(folder) == {*wanted, "cls_notes.txt/x"}
    for name in wanted:
        assert fetching.state_of(folder / name) == BY_NAME
        mirror.bring(folder / name)
        assert (folder / name).read_bytes() == name.encode()


def test_a_classifier_that_is_gone_from_an_experiment_goes(bucket: Bucket, mirror: Mirror) -> None:
    folder = mirror.root / EXPERIMENT
    for key in ("cls_a/best.pt", "cls_b/best.pt", "cls_b/last.pt", "crops_gt_crops/test/1.jpg"):
        bucket.put(f"{EXPERIMENT}/{key}", b"x")
    mirror.look_at_experiment(folder)
    (folder / "results.csv").write_bytes(b"of another look")
    for key in ("cls_a/best.pt", "cls_b/last.pt", "crops_gt_crops/test/1.jpg"):
        bucket.remove(f"{EXPERIMENT}/{key}")
    mirror.look_at_experiment(folder)
    assert names_below(folder) == {"cls_b/best.pt", "results.csv"}
    assert not (folder / "cls_a").exists()


def test_what_is_gone_from_the_bucket_goes_and_what_changed_is_another_file(
    bucket: Bucket, mirror: Mirror
) -> None:
    folder = mirror.root / "lab"
    for key in ("a/1", "a/2", "b/c/3", "d/4"):
        bucket.put(f"lab/{key}", key.encode())
    mirror.look_below(folder)
    for key in ("a/1", "a/2"):
        mirror.bring(folder / key)
    untouched = (folder / "a/1").stat()
    bucket.remove("lab/b/c/3")
    bucket.remove("lab/d/4")
    bucket.put("lab/d", b"a file now")
    bucket.put("lab/a/2", b"other")
    mirror.look_below(folder)
    assert names_below(folder) == {"a/1", "a/2", "d"}
    assert not (folder / "b").exists()
    again = (folder / "a/1").stat()
    assert (again.st_ino, again.st_mtime_ns) == (untouched.st_ino, untouched.st_mtime_ns)
    assert fetching.state_of(folder / "a/1") == WHOLE
    assert fetching.state_of(folder / "a/2") == BY_NAME
    mirror.bring(folder / "a/2")
    assert (folder / "a/2").read_bytes() == b"other"


def test_a_look_into_a_folder_leaves_what_is_deeper(bucket: Bucket, mirror: Mirror) -> None:
    for key in ("a/b/1", "a/2", "e/f/3"):
        bucket.put(f"lab/{key}", b"x")
    mirror.look_below(mirror.root / "lab")
    bucket.remove("lab/e/f/3")
    mirror.look_into(mirror.root / "lab")
    assert names_below(mirror.root / "lab") == {"a/b/1", "a/2"}
    mirror.look_into(mirror.root / "lab/a")
    assert names_below(mirror.root / "lab") == {"a/b/1", "a/2"}
    bucket.remove("lab/a/b/1")
    bucket.remove("lab/a/2")
    mirror.look_into(mirror.root / "lab")
    assert not (mirror.root / "lab").exists()
    mirror.look_into(mirror.root)
    assert list(mirror.root.parent.rglob("*")) in ([], [mirror.root])


def test_one_file_can_be_looked_at(bucket: Bucket, mirror: Mirror) -> None:
    bucket.put("lab/a.jpg", b"x")
    path = mirror.root / "lab/a.jpg"
    mirror.look_below(path)
    assert fetching.stamp_of(path).size == 1


def test_a_folder_that_was_emptied_is_gone(bucket: Bucket, mirror: Mirror) -> None:
    bucket.put("lab/a/1", b"x")
    mirror.look_below(mirror.root / "lab")
    bucket.remove("lab/a/1")
    mirror.look_below(mirror.root / "lab")
    assert not (mirror.root / "lab").exists()


def test_a_look_holds_for_a_while(bucket: Bucket, tmp_path: Path) -> None:
    mirror = Mirror(bucket.store, "s3://x", tmp_path / "m", 2**30, 3600.0)
    bucket.put("lab/1", b"x")
    with requests_of(bucket) as asked:
        mirror.look_below(mirror.root / "lab")
        bucket.put("lab/2", b"x")
        mirror.look_below(mirror.root / "lab")
        assert names_below(mirror.root) == {"lab/1"}
        mirror.forget(mirror.root / "lab/1")
        mirror.look_below(mirror.root / "lab")
    assert names_below(mirror.root) == {"lab/1", "lab/2"}
    assert len([words for words in asked if words.startswith("GET")]) == 2


def test_an_object_that_was_replaced_since_is_told_and_then_is_the_new_one(
    bucket: Bucket, tmp_path: Path
) -> None:
    mirror = Mirror(bucket.store, "s3://bucket", tmp_path / "m", 2**30, 3600.0)
    bucket.put("lab/a", b"one")
    path = mirror.root / "lab/a"
    mirror.look_below(path.parent)
    bucket.put("lab/a", b"two")
    with pytest.raises(Changed, match=r"replaced.*try again.*s3://bucket/lab/a"):
        mirror.bring(path)
    mirror.look_below(path.parent)
    mirror.bring(path)
    assert path.read_bytes() == b"two"


def test_what_a_killed_process_left_half_written_is_fetched_anew(
    bucket: Bucket, tmp_path: Path
) -> None:
    mirror = Mirror(bucket.store, "s3://bucket", tmp_path / "m", 2**30, 3600.0)
    bucket.put("lab/a", b"content")
    path = mirror.root / "lab/a"
    mirror.look_below(path.parent)
    descriptor = os.open(path, os.O_WRONLY)
    os.pwrite(descriptor, b"con", 0)  # and then SIGKILL
    os.close(descriptor)
    with pytest.raises(Changed):
        mirror.bring(path)
    mirror.look_below(path.parent)
    mirror.bring(path)
    assert path.read_bytes() == b"content"


def store_at(port: int) -> S3Store:
    return S3Store(
        "bucket",
        endpoint=f"http://127.0.0.1:{port}",
        access_key_id="local",
        secret_access_key="local",  # noqa: S106
        region="us-east-1",
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )


def unreachable() -> S3Store:
    return store_at(free_port())


def test_a_store_that_is_away_is_told(tmp_path: Path) -> None:
    mirror = Mirror(unreachable(), "s3://bucket", tmp_path / "m", 2**30, 30.0)
    with pytest.raises(DataUnavailable, match="s3://bucket/lab: the store does not answer"):
        mirror.look_below(mirror.root / "lab")


@contextmanager
def refusing(status: int, code: str) -> Iterator[tuple[S3Store, list[str]]]:
    """A store that answers with one error only, and what it was asked."""
    asked: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = f"<Error><Code>{code}</Code></Error>".encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield store_at(server.server_port), asked
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (404, "NoSuchBucket", "there is no such bucket"),
        (403, "AccessDenied", "refuses access: see the AWS_"),
        (403, "SignatureDoesNotMatch", "refuses access: see the AWS_"),
        (500, "InternalError", "does not answer, or with an error that the log names"),
    ],
)
def test_what_the_store_refuses_is_said_in_words(
    tmp_path: Path, status: int, code: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    with refusing(status, code) as (store, asked):
        mirror = Mirror(store, "s3://bucket", tmp_path / "m", 2**30, 0.0)
        for name in ("a", "b"):
            with pytest.raises(DataUnavailable, match=words) as raised:
                mirror.look_below(mirror.root / name)
            assert "127.0.0.1" not in str(raised.value)
        # Only one that is away is left alone for a while.
        assert len(asked) == (1 if status == 500 else 2)
    assert f"{status}" in caplog.text


def test_a_refusal_holds_for_some_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with refusing(403, "AccessDenied") as (store, asked):
        mirror = Mirror(store, "s3://bucket", tmp_path / "m", 2**30, 3600.0)
        now = time.monotonic()
        for later, questions in ((0, 1), (1, 1), (6, 2)):
            monkeypatch.setattr(time, "monotonic", lambda later=later: now + later)
            with pytest.raises(DataUnavailable):
                mirror.look_below(mirror.root / "a")
            assert len(asked) == questions
        monkeypatch.undo()


def test_a_store_that_is_away_is_asked_for_one_thing_at_a_time_only(
    bucket: Bucket, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each request of somebody who waits would otherwise take as long as the first one."""
    for name in ("a", "b"):
        bucket.put(f"{name}/1", b"x")
        mirror.look_below(mirror.root / name)
    mirror.bring(mirror.root / "a/1")
    mirror._store = unreachable()
    mirror.look_below(mirror.root / "a")
    mirror._store = bucket.store
    with requests_of(bucket) as asked:
        mirror.look_below(mirror.root / "b")
        mirror.bring(mirror.root / "a/1")  # what is here is here
        with pytest.raises(DataUnavailable, match=r"s3://.*/b/1"):
            mirror.bring(mirror.root / "b/1")
    assert asked == []
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 60)
    mirror.bring(mirror.root / "b/1")


def test_while_the_store_is_away_what_was_listed_stays(
    bucket: Bucket, mirror: Mirror, caplog: pytest.LogCaptureFixture
) -> None:
    bucket.put("lab/1", b"x")
    mirror.look_below(mirror.root / "lab")
    mirror._store = unreachable()
    with caplog.at_level(logging.WARNING):
        mirror.look_below(mirror.root / "lab")
    assert names_below(mirror.root) == {"lab/1"}
    assert "what was listed before is kept" in caplog.text
    with pytest.raises(DataUnavailable):
        mirror.bring(mirror.root / "lab/1")
    mirror._store, mirror._away_until = bucket.store, 0.0  # as after some seconds
    mirror.bring(mirror.root / "lab/1")
    assert (mirror.root / "lab/1").read_bytes() == b"x"


def read_long_ago(path: Path, hours: float) -> None:
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns - round(hours * 3600e9), status.st_mtime_ns))


def test_what_was_not_read_for_longest_is_put_out(bucket: Bucket, tmp_path: Path) -> None:
    mirror = Mirror(bucket.store, "s3://bucket", tmp_path / "m", 350_000, 3600.0)
    paths = [mirror.root / f"lab/{number}" for number in range(4)]
    for path in paths:
        bucket.put(f"lab/{path.name}", bytes(100_000))
    mirror.look_below(mirror.root / "lab")
    for path, hours in zip(paths[:3], (1, 3, 2), strict=True):
        mirror.bring(path)
        read_long_ago(path, hours)
    mirror.bring(paths[1])  # now it was read last
    stamps = [fetching.stamp_of(path) for path in paths]
    mirror.bring(paths[3])
    states = [fetching.state_of(path) for path in paths]
    assert states == [WHOLE, WHOLE, BY_NAME, WHOLE]
    assert [fetching.stamp_of(path) for path in paths] == stamps
    with paths[0].open("rb") as kept:
        fetching.place(paths[0], stamps[0])  # as putting out does
        assert len(kept.read()) == 100_000  # whoever reads it reads on
    mirror.bring(paths[2])
    assert paths[2].read_bytes() == bytes(100_000)


def test_what_is_in_use_stays_and_the_room_that_it_takes_is_told(
    bucket: Bucket, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mirror = Mirror(bucket.store, "s3://bucket", tmp_path / "m", 150_000, 3600.0)
    for number in range(3):
        bucket.put(f"lab/{number}", bytes(100_000))
    mirror.look_below(mirror.root / "lab")
    with caplog.at_level(logging.WARNING):
        for number in range(3):
            mirror.bring(mirror.root / f"lab/{number}")
    assert {fetching.state_of(mirror.root / f"lab/{n}") for n in range(3)} == {WHOLE}
    assert "in use" in caplog.text


def test_a_full_disk_is_no_fault_of_the_file(
    bucket: Bucket, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("lab/a", b"content")
    mirror.look_below(mirror.root / "lab")

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(DataUnavailable, match=r"No space left on device.*make room"):
        mirror.bring(mirror.root / "lab/a")
    monkeypatch.undo()
    mirror.bring(mirror.root / "lab/a")
    assert (mirror.root / "lab/a").read_bytes() == b"content"


def test_files_come_ahead_of_who_reads_them(bucket: Bucket, mirror: Mirror) -> None:
    paths = [mirror.root / f"lab/{number}" for number in range(20)]
    for path in paths:
        bucket.put(f"lab/{path.name}", path.name.encode())
    mirror.look_below(mirror.root / "lab")
    with requests_of(bucket) as asked:
        mirror.bring_soon(paths)
        mirror.bring_soon([*paths, mirror.root / "lab/not there"])
        for path in paths:
            mirror.bring(path)
            assert path.read_bytes() == path.name.encode()
    assert len(asked) == len(paths)


def test_only_so_many_files_are_on_their_way(
    bucket: Bucket, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cam_engine.stores.mirror._MOST_COMING", 2)
    paths = [mirror.root / f"lab/{number}" for number in range(5)]
    for path in paths:
        bucket.put(f"lab/{path.name}", b"x")
    mirror.look_below(mirror.root / "lab")
    held = [os.open(path, os.O_WRONLY) for path in paths[:2]]
    for descriptor in held:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    mirror.bring_soon(paths)
    assert set(mirror._coming) == set(paths[:2])
    for descriptor in held:
        os.close(descriptor)
    for path in paths:
        mirror.bring(path)


def test_several_folders_are_looked_into_at_once_whatever_one_of_them_is(
    bucket: Bucket, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        bucket.put(f"{name}/1", b"x")
    folders = [mirror.root / name for name in ("a", "b", "c")]

    def look(folder: Path) -> None:
        if folder.name == "b":
            raise OSError("refused")
        mirror.look_below(folder)

    mirror.each(look, folders)
    assert names_below(mirror.root) == {"a/1", "c/1"}


def test_its_folder_is_the_users_own(mirror: Mirror) -> None:
    assert mirror.root.stat().st_mode & 0o077 == 0

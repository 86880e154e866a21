"""Objects of a real (local) S3 store, by themselves."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import obstore
import pytest

from cam_engine.errors import InvalidOption, OutputNotWritable, PathOutsideRoot
from cam_engine.experiments.data_root import DataRoot
from processes.redis_server import free_port
from tests.s3_server import BUCKET, S3Server, serving
from tests.worker.jobs.outputs.storing import ONE, RUNNING, output_of
from worker.jobs.outputs.objects import Objects
from worker.jobs.outputs.s3 import ObjectStorage
from worker.jobs.outputs.storage import OutputFolder


@pytest.mark.parametrize(
    "key", ["../x", "/x", "a/../x", "a//x", ".", "", "a/./x", "a/", "x" * 256, "a\0"]
)
def test_keys_are_held_to_the_rules_of_paths(s3: S3Server, tmp_path: Path, key: str) -> None:
    objects = Objects(f"s3://{BUCKET}/{tmp_path.name}")
    for act in (
        lambda: objects.write(key, b""),
        lambda: objects.replace(key, b"", None),
        lambda: objects.remove(key),
        lambda: objects.read(key),
        lambda: objects.size(key),
        lambda: list(objects.stream(key)),
    ):
        with pytest.raises(PathOutsideRoot):
            act()


def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['obstore'] = None\n"
        "from pathlib import Path\n"
        "from worker.jobs.outputs.places import Places\n"
        "from worker.jobs.settings import JobSettings\n"
        "Places(JobSettings(data=Path('.'), output_store='s3://b/p'))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert ended.returncode != 0
    assert "InvalidOption" in ended.stderr
    assert "pip install 'gradcam-service[s3]'" in ended.stderr


def test_a_store_that_comes_back_is_waited_for(
    in_s3: OutputFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    storage = ObjectStorage(f"s3://{BUCKET}/{tmp_path.name}", DataRoot(tmp_path))
    late = output_of(storage, "here")
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(late.write_job_file, ONE, RUNNING, finished=False)
        time.sleep(2)  # refused meanwhile, which nobody can count
        assert not writing.done()
        with serving(port):  # of one process, all servers have the same buckets
            writing.result(timeout=30)
    assert in_s3.read_job_file(ONE) == RUNNING


@pytest.fixture
def objects(s3: S3Server, tmp_path: Path) -> Objects:
    return Objects(f"s3://{BUCKET}/{tmp_path.name}/")


def test_an_object_is_read_whole_in_part_and_in_pieces(objects: Objects) -> None:
    content = bytes(range(256)) * 100
    objects.write("a b/ä.png", content)
    assert objects.read("a b/ä.png") == content
    assert objects.read_start("a b/ä.png", 10) == content[:10]
    assert objects.read_start("a b/ä.png", 10**6) == content
    assert b"".join(objects.stream("a b/ä.png")) == content
    assert objects.size("a b/ä.png") == len(content)
    objects.write("a b/ä.png", b"another")
    assert objects.read("a b/ä.png") == b"another"


def test_what_is_not_there_is_said_or_of_no_size(objects: Objects) -> None:
    assert objects.size("missing") is None
    for read in (objects.read, objects.read_tagged, lambda key: list(objects.stream(key))):
        with pytest.raises(FileNotFoundError):
            read("missing")
    with pytest.raises(FileNotFoundError):
        objects.read_start("missing", 5)
    objects.remove("missing")


def test_browsers_are_told_what_an_object_is(objects: Objects) -> None:
    for name, kind in (("x.png", "image/png"), ("x.json", "application/json")):
        objects.write(name, b"{}")
        assert obstore.get(objects._store, name).attributes["Content-Type"] == kind


def test_objects_are_listed_below_a_folder(objects: Objects) -> None:
    for key in ("here/b.png", "here/a/x.png", "here/a/y.png", "hereafter.png", "other/z.png"):
        objects.write(key, key.encode())
    assert list(objects.below("here")) == [
        ("here/a/x.png", 12),
        ("here/a/y.png", 12),
        ("here/b.png", 10),
    ]
    assert objects.folders("here") == ["here/a"]
    assert list(objects.below("nowhere")) == []


def test_an_object_is_put_on_condition_of_what_is_there(objects: Objects) -> None:
    assert objects.replace("lock", b"first", None)
    assert not objects.replace("lock", b"second", None)
    content, tag = objects.read_tagged("lock")
    assert content == b"first"
    assert objects.replace("lock", b"second", tag)
    assert not objects.replace("lock", b"third", tag)
    assert objects.read("lock") == b"second"


def test_an_object_that_was_removed_is_gone(objects: Objects) -> None:
    objects.write("x", b"x")
    objects.remove("x")
    assert objects.size("x") is None
    assert objects.replace("x", b"again", None)


def test_a_store_that_cannot_be_written_is_named_by_key_and_reason(s3: S3Server) -> None:
    objects = Objects("s3://no-such-bucket/x")
    for act in (
        lambda: objects.write("a/b.png", b""),
        lambda: objects.replace("a/b.png", b"", None),
    ):
        with pytest.raises(OutputNotWritable) as refused:
            act()
        said = str(refused.value)
        assert said.startswith("cannot write a/b.png to the output store: ")
        assert "None" not in said
        assert "AWS_" in said


@pytest.mark.parametrize("address", ["s3://", "http://bucket/x", "bucket/x", ""])
def test_an_address_of_no_bucket_is_refused(address: str) -> None:
    with pytest.raises(InvalidOption, match="give s3://bucket/prefix"):
        Objects(address)

"""What a version of the project leaves behind when its processes are killed: Redis and the outputs.

`python -m tests.system.previous_version FILE`, with the code of that version around this module,
has jobs done on the bundled sample run and writes what is left: one that has ended, one that was
never begun, and one whose chunk a worker was in the middle of. Only texts of pictures are kept.
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import redis

from cam_engine.images.png import encode_png, read_png_text
from processes.eventually import eventually
from processes.jobs import Stack, stack

OUTPUT = "gradcam_visualizations"
KEY = "a key of the version before"
IMAGES = 8


def main(target: Path) -> None:
    """Make jobs, kill everything, write what is left."""
    run = next(Path("sample/results").glob("*_20*"))
    with tempfile.TemporaryDirectory() as scratch, stack(run, Path(scratch), images=IMAGES) as made:
        worker = made.add_worker()
        ended = made.submit(models=["focal"], max_images=1, key=KEY)["id"]
        made.wait(ended)
        cut_off = made.submit(models=["cb"], max_images=IMAGES)["id"]
        picture = f"*/experiments/*/{OUTPUT}/cls_*_cb/components/*"
        eventually("a picture is there", lambda: list(made.data.glob(picture)), pause=0.005)
        worker.kill_group()
        queued = made.submit(models=["focal"], max_images=2)["id"]
        made.server.process.kill()
        left = {
            "jobs": {"ended": ended, "cut_off": cut_off, "queued": queued},
            "redis": _redis(made),
            "files": _files(made.data),
        }
        made.server.process.wait()
    with gzip.open(target, "wt", encoding="utf-8") as file:
        json.dump(left, file, indent=0, ensure_ascii=False)


def read(source: Path) -> dict[str, Any]:
    """What `main` wrote."""
    with gzip.open(source, "rt", encoding="utf-8") as file:
        left: dict[str, Any] = json.load(file)
    return left


def put_files_back(left: dict[str, Any], data: Path) -> None:
    """Into a data root with the sample run's experiment."""
    for path, content in left["files"].items():
        file = data / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if path.endswith(".png"):
            file.write_bytes(encode_png(np.zeros((2, 2, 3), np.uint8), text=content))
        else:
            file.write_text(content)


def put_keys_back(left: dict[str, Any], redis_url: str) -> None:
    """Into an empty Redis."""
    with redis.Redis.from_url(redis_url) as client:
        for entry in left["redis"]:
            _restore(client, entry)


def _redis(made: Stack) -> list[dict[str, Any]]:
    with redis.Redis.from_url(made.redis.url) as client:
        return [_entry(client, key) for key in sorted(client.keys("*"))]


def _entry(client: Any, key: bytes) -> dict[str, Any]:
    """A key with its kind, what is left of its time, and its value; bytes as Latin-1 letters."""
    kind = client.type(key).decode()
    value: Any
    if kind == "string":
        value = client.get(key)
    elif kind == "hash":
        value = client.hgetall(key)
    elif kind == "list":
        value = client.lrange(key, 0, -1)
    elif kind == "set":
        value = sorted(client.smembers(key))
    elif kind == "zset":
        value = client.zrange(key, 0, -1, withscores=True)
    else:
        value = client.xrevrange(key, count=2)[::-1]  # the last ones will do
    return {"key": _text(key), "kind": kind, "ttl_ms": client.pttl(key), "value": _text(value)}


def _restore(client: Any, entry: dict[str, Any]) -> None:
    key, kind = _bytes(entry["key"]), entry["kind"]
    value = _bytes(entry["value"])
    if kind == "string":
        client.set(key, value)
    elif kind == "hash":
        # Else the job has expired, once this dump is old enough.
        moved = {b"expires": str(time.time() + 86400)} if b"expires" in value else {}
        client.hset(key, mapping={**value, **moved})
    elif kind == "list":
        client.rpush(key, *value)
    elif kind == "set":
        client.sadd(key, *value)
    elif kind == "zset":
        client.zadd(key, {cast("bytes", member): score for member, score in value})
    else:
        for id_, fields in value:
            client.xadd(key, fields, id=id_)
    if entry["ttl_ms"] >= 0:
        client.pexpire(key, max(1, entry["ttl_ms"]))


def _text(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, dict):
        return {_text(key): _text(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_text(part) for part in value]
    return value


def _bytes(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("latin-1")
    if isinstance(value, dict):
        return {_bytes(key): _bytes(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_bytes(part) for part in value]
    return value


def _files(data: Path) -> dict[str, Any]:
    contents: dict[str, Any] = {}
    for file in sorted(data.rglob(f"{OUTPUT}/**/*")):
        if file.is_file():
            path = file.relative_to(data).as_posix()
            contents[path] = read_png_text(file) if file.suffix == ".png" else file.read_text()
    return contents


if __name__ == "__main__":
    main(Path(sys.argv[1]))

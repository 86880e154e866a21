"""The steps of Dockerfile.gpu as plain commands, since the tests' machine may have no Docker.

Install steps run in a clean folder as the file says, with its paths below that folder. The start
command, the health check and the worker then run from what was installed: as another user where
the tests are root's, and that user can reach the interpreter.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from dockerfile_parse import DockerfileParser

from processes.eventually import eventually
from processes.jobs import FINAL
from processes.redis_server import free_port, running_redis

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
NOBODY = 65534
KEY = "key-of-the-image-test"


@dataclass
class Stage:
    """One FROM of the file: its instructions in order."""

    steps: list[tuple[str, str]] = field(default_factory=list)

    def values(self, instruction: str) -> list[str]:
        return [value for name, value in self.steps if name == instruction]

    def environment(self) -> dict[str, str]:
        pairs = (word for value in self.values("ENV") for word in shlex.split(value))
        return dict(pair.split("=", 1) for pair in pairs)

    def command(self, instruction: str) -> list[str]:
        """The JSON form of CMD, also after HEALTHCHECK's options."""
        value = self.values(instruction)[-1]
        command: list[str] = json.loads(value[value.index("[") :])
        return command


def stages() -> list[Stage]:
    with (ROOT / "Dockerfile.gpu").open("rb") as file:
        structure = DockerfileParser(fileobj=file).structure
    built: list[Stage] = []
    for step in structure:
        if step["instruction"] == "FROM":
            built.append(Stage())
        elif step["instruction"] != "COMMENT":
            built[-1].steps.append((step["instruction"], step["value"]))
    return built


@dataclass(frozen=True)
class Image:
    """What the steps made: /opt/gradcam and the rest below a folder."""

    root: Path
    start: Stage

    def placed(self, text: str) -> str:
        for folder in ("/opt/gradcam", "/source", "/data"):
            text = text.replace(folder, f"{self.root}{folder}")
        return text

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        """As in the container: nothing of the tests' own environment but PATH."""
        path = os.environ["PATH"]
        given = {name: self.placed(value) for name, value in self.start.environment().items()}
        scratch = str(self.root / "tmp")
        given |= {"PATH": given["PATH"].replace("$PATH", path), "TMPDIR": scratch}
        return {**given, "HOME": scratch, "MPLCONFIGDIR": scratch, **more}

    def other_user(self) -> dict[str, Any]:
        """Options for `Popen`, where the command can run as nobody."""
        nobody: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        if os.geteuid() != 0:
            return {}
        try:
            subprocess.run([self.placed("/opt/gradcam/bin/python"), "-V"], check=True, **nobody)
        except (OSError, subprocess.CalledProcessError):
            return {}
        return nobody

    def run(self, command: list[str], **environment: str) -> subprocess.Popen[bytes]:
        given = self.environment(environment)
        program = shutil.which(command[0], path=given["PATH"])
        assert program is not None
        return subprocess.Popen(
            [program, *command[1:]],
            env=given,
            cwd=self.root / "tmp",
            start_new_session=True,
            **self.other_user(),
        )


@pytest.fixture(scope="module")
def image(sample_run: Path) -> Iterator[Image]:
    build, start = stages()
    root = Path(tempfile.mkdtemp(prefix="gradcam-image-"))
    try:
        made = Image(root, start)
        for folder in ("source", "opt", "tmp", "data"):
            (root / folder).mkdir()
        shutil.copytree(sample_run, root / "data" / sample_run.name)
        install(made, build)
        subprocess.run(["chmod", "-R", "a+rX", str(root)], check=True)
        subprocess.run(["chmod", "-R", "a+rwX", str(root / "data"), str(root / "tmp")], check=True)
        yield made
    finally:
        shutil.rmtree(root)


def install(image: Image, build: Stage) -> None:
    """The first stage's COPY and RUN steps, in order; pip's cache is used, to save a download."""
    source = image.root / "source"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {"PATH": path, "HOME": os.environ["HOME"], **build.environment()}
    environment.pop("PIP_NO_CACHE_DIR")
    environment |= {name: os.environ[name] for name in os.environ if name.startswith("PIP_")}
    for instruction, value in build.steps:
        if instruction == "COPY":
            *sources, target = value.split()
            for name in sources:
                copy(ROOT / name, source / target)
        elif instruction == "RUN":
            subprocess.run(
                ["sh", "-euc", image.placed(value)],
                cwd=source,
                env=environment,
                check=True,
                stdout=subprocess.DEVNULL,
            )


def copy(source: Path, target: Path) -> None:
    if source.is_dir():
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, target, dirs_exist_ok=True, ignore=ignored)
    else:
        shutil.copy(source, target)


@contextmanager
def process(started: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(timeout=60)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(started.pid, signal.SIGKILL)


def installed_files(root: Path) -> dict[str, tuple[int, int]]:
    states = {}
    for path in (root / "opt").rglob("*"):
        status = path.lstat()
        states[str(path)] = (status.st_mtime_ns, status.st_size)
    return states


def test_installed_and_started_as_the_image_says(image: Image, tmp_path: Path) -> None:
    before = installed_files(image.root)
    port = str(free_port())
    start = [port if word == "8000" else word for word in image.start.command("CMD")]
    health = [word.replace("8000", port) for word in image.start.command("HEALTHCHECK")]
    worker = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["worker-gpu"]
    hashed = f"sha256:{hashlib.sha256(KEY.encode()).hexdigest()}"
    redis_folder = tmp_path / "redis"
    redis_folder.mkdir()
    with running_redis(redis_folder) as redis:
        settings = {"GRADCAM_REDIS_URL": redis.url, "GRADCAM_API_KEYS": hashed}
        with (
            process(image.run(start, **settings)) as api,
            process(image.run(worker["command"], **settings)),
            httpx.Client(
                base_url=f"http://127.0.0.1:{port}", headers={"X-API-Key": KEY}, timeout=60
            ) as client,
        ):
            wait_until_healthy(image, health, api)
            explain_one(client, image)
            do_a_job(client)
    changed = set(installed_files(image.root).items()) ^ set(before.items())
    assert not changed, sorted(changed)[:5]


def wait_until_healthy(image: Image, health: list[str], api: subprocess.Popen[bytes]) -> None:
    def look() -> bool:
        assert api.poll() is None
        return image.run(health).wait() == 0

    eventually("the image is healthy", look, seconds=120, pause=0.5)


def explain_one(client: httpx.Client, image: Image) -> None:
    cell = next((image.root / "data").rglob("crops/test/*/*.jpg"))
    answer = client.post("/v1/explanations", files={"image": cell.read_bytes()})
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "image/png"


def do_a_job(client: httpx.Client) -> None:
    experiment = client.get("/v1/experiments").json()["experiments"][0]["path"]
    answer = client.post("/v1/jobs", json={"experiment": experiment, "max_images": 4})
    assert answer.status_code == 202, answer.text
    job = answer.json()

    def look() -> dict[str, Any] | None:
        now: dict[str, Any] = client.get(f"/v1/jobs/{job['id']}?wait=10").json()
        return now if now["status"] in FINAL else None

    ended = eventually("the job has ended", look, seconds=180)
    assert ended["status"] == "succeeded", ended

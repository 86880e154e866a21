"""A job over images of which one is dear to decode: its item fails, the others are explained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from processes.jobs import Stack, stack
from tests.hostile_images import png

pytestmark = pytest.mark.system


def test_a_dear_image_fails_alone(sample_run: Path, tmp_path: Path) -> None:
    with stack(sample_run, tmp_path, images=6) as jobs:
        crop = next((jobs.data / jobs.experiment / "crops_gt_crops/crops/test").rglob("*.jpg"))
        crop.with_name("dear.png").write_bytes(png(4500, 4500, 16, 6))
        worker = jobs.add_worker(decoding_seconds="0.5", decoding_processes="2")
        job = jobs.wait(jobs.submit(max_images=None)["id"])
        assert job["status"] == "partial", job
        models = len(job["models"])
        assert job["progress"]["failed"] == models
        assert job["progress"]["succeeded"] == job["progress"]["total"] - models
        for item in failed_items(jobs, job["id"]):
            assert item["image"].endswith("dear.png")
            assert item["error"]["code"] == "invalid-image"
            assert "decoding it took longer than" in item["error"]["detail"]
        decoders = [
            child
            for child in worker.children()
            if "cam_engine.images.decoding_process" in words(child)
        ]
        assert len(decoders) == 2
        worker.stop()
        _, left = psutil.wait_procs(decoders, timeout=60)
        assert left == []


def words(process: psutil.Process) -> list[str]:
    try:
        command: list[str] = process.cmdline()
        return command
    except psutil.NoSuchProcess:
        return []


def failed_items(jobs: Stack, id_: str) -> list[dict[str, Any]]:
    answer = httpx.get(f"{jobs.server.url}/v1/jobs/{id_}/items?status=failed", timeout=30)
    items: list[dict[str, Any]] = answer.json()["items"]
    return items

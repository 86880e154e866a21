"""The compose file and its example of settings name the same variables."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def compose() -> str:
    return (ROOT / "docker-compose.yml").read_text()


def test_the_example_names_every_variable(compose: str) -> None:
    used = set(re.findall(r"\$\{(GRADCAM_[A-Z_]+)", compose))
    used |= set(re.findall(r"environment: (GRADCAM_[A-Z_]+)", compose))
    named = set(re.findall(r"^(GRADCAM_[A-Z_]+)=", (ROOT / ".env.example").read_text(), re.M))
    assert used == named


def test_workers_stop_in_time_and_take_a_gpu_each(compose: str) -> None:
    services = yaml.safe_load(compose)["services"]
    workers = {name: service for name, service in services.items() if name.startswith("worker-")}
    assert all(worker["stop_grace_period"] == "90s" for worker in workers.values())
    assert all(worker["read_only"] for worker in workers.values())
    devices = [
        device
        for worker in workers.values()
        if "deploy" in worker
        for entry in worker["deploy"]["resources"]["reservations"]["devices"]
        for device in entry["device_ids"]
    ]
    assert sorted(devices) == ["0", "1"]


def test_workers_get_less_of_the_cores_than_what_a_person_waits_for(compose: str) -> None:
    services = yaml.safe_load(compose)["services"]
    usual = 1024  # where nothing is said
    assert "cpu_shares" not in services["api"]
    shares = {name: service.get("cpu_shares", usual) for name, service in services.items()}
    assert all(shares[name] <= usual / 10 for name in shares if name.startswith("worker-"))


def test_what_the_image_copies_is_not_ignored() -> None:
    copied = {
        name
        for line in (ROOT / "Dockerfile.gpu").read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for name in line.split()[1:-1]
    }
    kept = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    assert copied == kept

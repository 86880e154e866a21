"""The example cluster's files fit each other, the settings, and what a service needs to end."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import Settings

EXAMPLE = Path(__file__).parents[1] / "examples/cluster"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((EXAMPLE / "docker-compose.yml").read_text())
    return read


def test_it_is_a_compose_file() -> None:
    program = Path(sys.executable).with_name("check-jsonschema")
    words = ["--builtin-schema", "vendor.compose-spec", str(EXAMPLE / "docker-compose.yml")]
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_example_of_variables_names_every_one() -> None:
    used = set(re.findall(r"\$\{(GRADCAM_[A-Z_]+)", (EXAMPLE / "docker-compose.yml").read_text()))
    named = set(re.findall(r"^(GRADCAM_[A-Z_]+)=", (EXAMPLE / ".env.example").read_text(), re.M))
    assert used == named


def test_nginx_asks_the_services_that_there_are(compose: dict[str, Any]) -> None:
    asked = re.findall(r"^server ([\w-]+):8000 ", (EXAMPLE / "replicas.conf").read_text(), re.M)
    services = [name for name in compose["services"] if name.startswith("api")]
    assert asked == services == compose["services"]["proxy"]["depends_on"]
    assert len(services) == 2


def test_services_are_alike_and_have_the_time_to_drain(compose: dict[str, Any]) -> None:
    one, other = compose["services"]["api-1"], compose["services"]["api-2"]
    assert one == other
    variables = one["environment"]
    assert {name.removeprefix("GRADCAM_").lower() for name in variables} <= {*Settings.model_fields}
    drain = float(variables["GRADCAM_DRAIN_SECONDS"])
    timeout = Settings.model_fields["request_timeout_seconds"].default
    assert drain + timeout + 5 < float(one["stop_grace_period"].removesuffix("s"))


def test_nginx_takes_what_the_service_takes() -> None:
    [megabytes] = re.findall(r"client_max_body_size (\d+)m;", (EXAMPLE / "nginx.conf").read_text())
    most = Settings.model_fields["max_upload_bytes"].default
    assert most < int(megabytes) * 2**20 < most * 1.1

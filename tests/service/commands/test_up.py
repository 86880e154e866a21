"""`gradcam up` where it cannot run: one sentence, and nothing is started again and again."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cam_engine.commands import exit_status
from cam_engine.errors import InvalidOption
from processes.redis_server import free_port
from service.commands.up import Child, _held


def up(data: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("GRADCAM_")}
    return subprocess.run(
        [sys.executable, "-m", "service", "up", "--data", str(data), *words],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_port_that_is_taken_is_said_before_anything_is_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        done = up(tmp_path, "--port", port, "--state", str(tmp_path / "state"))
    assert done.returncode == exit_status.NOTHING_DONE
    assert f"cannot listen on port {port} of 127.0.0.1: address already in use" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_an_address_of_another_machine_is_said(tmp_path: Path, host: str) -> None:
    done = up(tmp_path, "--host", host, "--port", str(free_port()))
    assert done.returncode == exit_status.NOTHING_DONE
    assert host in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_two_on_one_state_are_refused(tmp_path: Path) -> None:
    words = ("--port", str(free_port()), "--state", str(tmp_path))
    with _held(tmp_path):
        done = up(tmp_path, *words)
    assert done.returncode == exit_status.NOTHING_DONE
    assert "another `gradcam up` runs on this data root" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    with _held(tmp_path):  # free again
        pass


def test_the_lock_lasts_as_long_as_a_child_has_it(tmp_path: Path) -> None:
    with _held(tmp_path) as lock:
        child = subprocess.Popen(["sleep", "60"], pass_fds=(lock,))
    try:
        with pytest.raises(InvalidOption, match="another"), _held(tmp_path):
            pass
    finally:
        child.kill()
        child.wait()
    with _held(tmp_path):
        pass


def test_a_child_that_refuses_to_run_is_not_started_again() -> None:
    child = Child("service", [sys.executable, "-c", "raise SystemExit(2)"], dict(os.environ))
    child.start()
    assert child.process is not None
    child.process.wait(timeout=60)
    with pytest.raises(InvalidOption, match="the service cannot run"):
        child.look()
    child.stop()

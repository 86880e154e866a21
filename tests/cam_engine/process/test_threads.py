from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import cv2
import pytest

from cam_engine.commands.arguments import images_main
from cam_engine.process.threads import (
    keep_opencv_to_its_thread,
    let_others_first,
    share_cores_with_pictures,
)

SCRIPT = Path(__file__).parents[3] / "scripts/visualization/generate_improved_gradcam.py"


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    # Set and deleted, so that what a test leaves behind is taken back too.
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.mark.skipif(sys.platform != "linux", reason="torch uses another OpenMP library there")
def test_a_command_sets_it_before_torch_is_imported() -> None:
    answer = subprocess.run(
        [sys.executable, str(SCRIPT), "--model", "missing.pt", "--images", "missing"],
        env=os.environ | {"OMP_DISPLAY_ENV": "verbose"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "GOMP_SPINCOUNT = '1000'" in answer.stderr


def test_what_the_environment_says_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "5")
    share_cores_with_pictures()
    assert os.environ["GOMP_SPINCOUNT"] == "5"


def test_a_wait_policy_is_not_overruled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    share_cores_with_pictures()
    assert "GOMP_SPINCOUNT" not in os.environ


@pytest.fixture
def opencv_with_two_threads() -> Iterator[None]:
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    yield
    cv2.setNumThreads(before)


@pytest.mark.usefixtures("opencv_with_two_threads")
def test_opencv_works_in_the_thread_that_calls_it() -> None:
    keep_opencv_to_its_thread()
    assert cv2.getNumThreads() == 1


@pytest.mark.usefixtures("opencv_with_two_threads")
def test_a_command_keeps_opencv_to_its_thread(tmp_path: Path) -> None:
    images_main(["--model", "missing.pt", "--images", str(tmp_path)])
    assert cv2.getNumThreads() == 1


def test_others_have_the_cores_before_a_thread_and_those_that_it_starts() -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    seen: list[int] = []

    def look() -> None:
        seen.append(os.getpriority(os.PRIO_PROCESS, 0))

    def work() -> None:
        for niceness in (min(own + 3, 19), own):  # a lower one would need rights to be taken back
            let_others_first(niceness)
            look()
        started = Thread(target=look)
        started.start()
        started.join()

    worker = Thread(target=work)
    worker.start()
    worker.join()
    assert seen == [min(own + 3, 19)] * 3
    assert os.getpriority(os.PRIO_PROCESS, 0) == own


_AUTOGROUP = Path("/proc/self/autogroup")


@pytest.mark.skipif(not _AUTOGROUP.exists(), reason="a kernel without them")
@pytest.mark.parametrize("own_session", [True, False])
def test_a_session_of_ours_comes_after_others(own_session: bool) -> None:
    code = (
        "import subprocess, sys\n"
        "inner = 'from cam_engine.process.threads import let_others_first; let_others_first(4); '\n"
        "inner += 'print(open(\"/proc/self/autogroup\").read())'\n"
        "subprocess.run([sys.executable, '-c', inner], check=True)\n"
    )
    # Empty where no process above this one ever began a session, as below some init processes.
    before = _AUTOGROUP.read_text().strip()
    ended = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        start_new_session=own_session,
    )
    after = ended.stdout.strip()
    if own_session and not after:
        pytest.skip("a kernel that puts no session into a group")
    assert after.endswith("nice 4") if own_session else after == before

"""Scratch folders of workers, and those that killed ones left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    code = (
        "from worker.jobs.outputs.scratch import scratch_folder\n"
        "import sys, time\n"
        "with scratch_folder() as folder:\n"
        "    folder.write('half.png', b'x')\n"
        "    print(folder.path, flush=True)\n"
        "    time.sleep(100)\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        long_ago = time.time() - 1000
        os.utime(folder, (long_ago, long_ago))
        look = "from worker.jobs.outputs.scratch import scratch_folder\nwith scratch_folder(): pass"
        subprocess.run([sys.executable, "-c", look], env=environment, check=True)
        assert folder.is_dir()  # in use
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run([sys.executable, "-c", look], env=environment, check=True)
    assert not folder.exists()

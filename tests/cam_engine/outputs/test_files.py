"""A run's files: whole or not there, and under names that stay in the folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cam_engine.errors import OutputNotWritable
from cam_engine.outputs.files import file_part, make_folder, remove_half_written, write_atomically


def test_writing_replaces_whole_files_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_write_that_fails_in_its_middle_keeps_the_old_file(tmp_path: Path) -> None:
    """Files of this process may have 1000 bytes; the second write reaches that in its middle."""
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from cam_engine.errors import OutputNotWritable\n"
        "from cam_engine.outputs.files import write_atomically\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "path = Path(sys.argv[1])\n"
        "write_atomically(path, b'old' * 100)\n"
        "try: write_atomically(path, b'new' * 1000)\n"
        "except OutputNotWritable as error: print(error)\n"
    )
    path = tmp_path / "a.png"
    ended = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    assert "cannot write" in ended.stdout, ended.stderr
    assert path.read_bytes() == b"old" * 100
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_what_cannot_be_written_is_said_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(OutputNotWritable, match=r"cannot write .*a.png.*choose another"):
        write_atomically(tmp_path / "a.png", b"data")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputNotWritable, match="file"):
        make_folder(tmp_path / "file" / "below")


def test_what_a_killed_run_left_half_written_is_cleared(tmp_path: Path) -> None:
    make_folder(tmp_path)
    whole = [tmp_path / "improved_gradcam_a.png", tmp_path / "components/a_late_heatmap.png"]
    for path in whole:
        write_atomically(path, b"whole")
    for part in (tmp_path / "components/.a.png.1.part", tmp_path / ".b.png.2.part"):
        part.write_bytes(b"half")
    remove_half_written(tmp_path)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(whole)


@pytest.mark.parametrize(("layer", "part"), [("early", "early"), ("a/../b c", "a_.._b_c")])
def test_layer_names_cannot_leave_the_folder(layer: str, part: str) -> None:
    assert file_part(layer) == part

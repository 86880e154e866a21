"""The process that looks into checkpoints: asked in lines, as `HeaderReader` asks it."""

from __future__ import annotations

import io
import json
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from cam_engine.models.files import header_child
from cam_engine.models.files.header_child import MOST_ANSWER_CHARACTERS, serve

ROOT = str(Path(__file__).parents[4])


def saved(path: Path, **beside: object) -> Path:
    torch.save({"model": {"fc.weight": torch.ones(2, 2)}, **beside}, path)
    return path


def request(path: Path, *wanted: str, nested: tuple[str, ...] = ()) -> str:
    return json.dumps({"path": str(path), "wanted": wanted, "nested": nested}) + "\n"


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Asks in this process, which goes on after it and is not limited."""
    monkeypatch.setattr(header_child, "limit_next_answer", lambda: None)

    def ask(*requests: str) -> list[dict[str, Any]]:
        answers = io.StringIO()
        serve(io.StringIO("".join(requests)), answers)
        return [json.loads(line) for line in answers.getvalue().splitlines()]

    return ask


def test_each_line_is_answered_with_a_line_of_what_was_asked_for(
    tmp_path: Path, answered: Any
) -> None:
    path = saved(tmp_path / "best.pt", epoch=3, names=["ä"], args={"arch": "vit", "lr": 0.1})
    asked = (request(path, "epoch", "names"), request(path, "arch", nested=("args",)))
    assert answered(*asked) == [
        {"said": {"epoch": 3, "names": ["ä"]}},
        {"said": {"args": {"arch": "vit"}}},
    ]
    assert answered() == []


def test_errors_are_answers_and_the_next_line_is_read(tmp_path: Path, answered: Any) -> None:
    (tmp_path / "text.pt").write_bytes(b"no weights here")
    path = saved(tmp_path / "best.pt", epoch=3)
    missing, damaged, good = answered(
        request(tmp_path / "none.pt"), request(tmp_path / "text.pt"), request(path, "epoch")
    )
    assert missing["code"] == "checkpoint-not-found"
    assert "none.pt is not there" in missing["detail"]
    assert damaged["code"] == "checkpoint-invalid"
    assert "text.pt" in damaged["detail"]
    assert good == {"said": {"epoch": 3}}


def test_an_answer_that_is_too_long_is_refused(tmp_path: Path, answered: Any) -> None:
    names = ["x" * 9_000] * (MOST_ANSWER_CHARACTERS // 9_000)
    fits = saved(tmp_path / "fits.pt", names=names[:-2])
    over = saved(tmp_path / "over.pt", names=[*names, *names[:2]])
    first, second = answered(request(fits, "names"), request(over, "names"))
    assert len(first["said"]["names"]) == len(names) - 2
    assert second["code"] == "checkpoint-invalid"
    assert "says too much beside its weights" in second["detail"]


def in_a_process(code: str, lines: str = "") -> subprocess.CompletedProcess[str]:
    start = "import sys; sys.path.append(sys.argv[1])\n"
    start += "from cam_engine.models.files import header_child\n"
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", start + code, ROOT],
        input=lines,
        capture_output=True,
        text=True,
        check=False,
    )


def test_main_answers_until_input_ends_within_limits(tmp_path: Path) -> None:
    path = saved(tmp_path / "best.pt", epoch=3)
    ended = in_a_process(
        "import resource, signal\n"
        "header_child.main()\n"
        "kinds = 'RLIMIT_AS', 'RLIMIT_FSIZE', 'RLIMIT_CORE', 'RLIMIT_NOFILE'\n"
        "print(*(resource.getrlimit(getattr(resource, kind)) for kind in kinds))\n"
        "print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)\n",
        request(path, "epoch") * 2,
    )
    assert ended.stderr == ""
    *answers, limits, is_left_to_others = ended.stdout.splitlines()
    assert [json.loads(answer) for answer in answers] == [{"said": {"epoch": 3}}] * 2
    assert limits == f"({1 << 30}, {1 << 30}) (0, 0) (0, 0) (16, 16)"
    assert is_left_to_others == "True"


def test_the_process_has_no_torch_and_is_ended_where_it_takes_too_long() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    ended = in_a_process(
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
        "header_child.limit_this_process()\n"
        "try: bytearray(2 << 30)\n"
        "except MemoryError: print('no memory', flush=True)\n"
        "header_child.CPU_SECONDS = 0\n"  # in place of two, and one more
        "header_child.limit_next_answer()\n"
        "while True: pass\n"
    )
    assert ended.stdout == "no memory\n"
    assert ended.returncode == -signal.SIGXCPU
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 5

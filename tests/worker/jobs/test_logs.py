"""Log lines: one of JSON each, without the values of variables, whoever writes them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

CODE = """
import logging, warnings
from pathlib import Path
import structlog
from worker.jobs.logs import configure
from worker.jobs.settings import JobSettings

configure(JobSettings(data=Path("."), log_level={level!r}, log_format={form!r}))
log = structlog.get_logger("ours")
log.info("ours", number=1)
logging.getLogger("celery").warning("theirs %s", 2)
logging.getLogger("uvicorn.access").info("a request")
logging.getLogger("uvicorn.error").error("of the server")
logging.getLogger("httpx").info("a call")
logging.getLogger("PIL").error("of a decoder")
warnings.warn("a warning")
structlog.contextvars.bind_contextvars(request_id="r1")
def broken(key):
    raise RuntimeError("broken")
try:
    broken("gck_secret")
except RuntimeError:
    log.exception("it broke")
"""


def lines(level: str = "info", form: str = "json") -> list[str]:
    ended = subprocess.run(
        [sys.executable, "-c", CODE.format(level=level, form=form)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout == ""
    return ended.stderr.splitlines()


def test_every_line_is_an_object_with_its_level_and_time() -> None:
    told = [json.loads(line) for line in lines()]
    assert [(line["event"], line["level"]) for line in told if "warn" not in line["event"]][:3] == [
        ("ours", "info"),
        ("theirs 2", "warning"),
        ("of the server", "error"),
    ]
    assert all(line["timestamp"].endswith("Z") for line in told)
    assert told[0]["number"] == 1
    events = " ".join(line["event"] for line in told)
    assert "a warning" in events
    for silent in ("a request", "a call", "of a decoder"):
        assert silent not in events


def test_an_error_has_its_place_and_no_values(
    capfd: pytest.CaptureFixture[str],
) -> None:
    *_, last = lines()
    assert "gck_secret" not in last
    broken = json.loads(last)
    assert (broken["event"], broken["request_id"]) == ("it broke", "r1")
    (raised,) = broken["exception"]
    assert (raised["exc_type"], raised["exc_value"]) == ("RuntimeError", "broken")
    assert raised["frames"][-1]["name"] == "broken"


def test_less_is_said_where_less_is_asked_for() -> None:
    events = [json.loads(line)["event"] for line in lines("error")]
    assert events == ["of the server", "it broke"]


def test_for_people_lines_are_text() -> None:
    text = "\n".join(lines(form="console"))
    assert "ours" in text
    assert "RuntimeError: broken" in text
    assert "gck_secret" not in text
    assert not text.startswith("{")

"""The states of jobs: one list of the ends, from which all else is taken."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import get_args

import pytest

from cam_engine.outputs.folder_lock import FINISHED, is_unfinished
from worker.jobs.contract import UNFINISHED, JobStatus
from worker.jobs.redis import scripts

ROOT = Path(__file__).parents[3]


def test_every_state_is_an_end_or_is_not() -> None:
    assert (*UNFINISHED, *FINISHED) == get_args(JobStatus)


def test_no_other_module_lists_the_ends() -> None:
    lists = (ast.Tuple, ast.List, ast.Set)
    places = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for package in ("cam_engine", "service", "worker")
        for file in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, lists)
        and {e.value for e in node.elts if isinstance(e, ast.Constant)} >= set(FINISHED)
    ]
    assert len(places) == 1, places


def test_scripts_name_the_states_that_they_mean() -> None:
    for status in UNFINISHED:
        assert f"status ~= '{status}'" in scripts.END
    for final in FINISHED:
        assert (f"status ~= '{final}'" in scripts.RETRY) == (final != "succeeded")


@pytest.mark.parametrize("manifest", [{"status": "running"}, {"status": ["partial"]}, {}])
def test_a_manifest_without_an_end_is_unfinished(manifest: object) -> None:
    assert is_unfinished(manifest)


@pytest.mark.parametrize("manifest", [{"status": "partial"}, ["running"], None])
def test_an_end_or_no_manifest_is_not(manifest: object) -> None:
    assert not is_unfinished(manifest)

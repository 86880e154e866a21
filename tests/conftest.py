"""Fixtures that more than one folder of tests uses."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

_BESIDE_THE_CHECKOUT = Path(
    "../shared/results/optA_20251005_182645/experiments/experiment_iml_lifecycle"
)


@pytest.fixture(autouse=True)
def _no_log_of_another_test() -> None:
    """Applications that tests make set logging up for the process, and their streams are closed."""
    root = logging.getLogger()
    root.handlers = [
        handler
        for handler in root.handlers
        if not getattr(getattr(handler, "stream", None), "closed", False)
    ]


@pytest.fixture(scope="session")
def real_experiment() -> Path:
    """The real experiment's folder; tests that want it are skipped where it is not there."""
    beside = Path(__file__).resolve().parents[1] / _BESIDE_THE_CHECKOUT
    folder = Path(os.environ.get("GRADCAM_REAL_EXPERIMENT", beside))
    if not folder.is_dir():
        pytest.skip(f"no real experiment at {folder}; set GRADCAM_REAL_EXPERIMENT")
    return folder


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Torch on one thread: with small tensors, threads wait for each other more than they work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def sample_run() -> Path:
    """The bundled sample run: two experiments, two small trained classifiers each."""
    (run,) = (Path(__file__).resolve().parents[1] / "sample/results").glob("*_20*")
    return run


@pytest.fixture(scope="session")
def lifecycle(sample_run: Path) -> Path:
    """The bundled experiment of life stages."""
    return sample_run / "experiments" / "experiment_synthetic_lifecycle"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that others can get at; pytest's own and those around the checkout may be closed."""
    folder = Path(tempfile.mkdtemp(prefix="gradcam-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)

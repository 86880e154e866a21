"""Folding one network while other threads run others: neither may notice."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from cam_engine.maps.explainer import Explainer
from cam_engine.maps.precision import fold_batch_norms
from cam_engine.models.loading import Classifier, load_classifier
from cam_engine.options import CamOptions


@pytest.fixture(scope="module")
def classifier(lifecycle: Path) -> Classifier:
    return load_classifier(lifecycle / "cls_mobilenet_v3_small_focal/best.pt")


def test_a_pass_beside_a_trace_is_undisturbed(classifier: Classifier, one_thread: None) -> None:
    explainer = Explainer(classifier)
    image = np.full((64, 64, 3), 90, np.uint8)
    [expected] = explainer.explain([image], CamOptions(fused=True))
    ended = threading.Event()
    probabilities, errors = [], []

    def passes() -> None:
        while not ended.is_set():
            try:
                [explanation] = explainer.explain([image], CamOptions(fused=True))
                probabilities.append(explanation.predicted.probability)
            except Exception as error:
                errors.append(error)

    thread = threading.Thread(target=passes)
    thread.start()
    for _ in range(10):
        fold_batch_norms(classifier.network)
    ended.set()
    thread.join()
    assert errors == []
    assert probabilities == pytest.approx([expected.predicted.probability] * len(probabilities))


def test_networks_folded_at_once_are_folded_whole(classifier: Classifier) -> None:
    def norms_left() -> int:
        folded = fold_batch_norms(classifier.network)
        return sum(type(module).__name__ == "BatchNorm2d" for module in folded.modules())

    expected, found = norms_left(), []
    threads = [threading.Thread(target=lambda: found.append(norms_left())) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert expected == 0
    assert found == [expected] * 6

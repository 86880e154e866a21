"""What workers found out of a job, in a real Redis."""

from __future__ import annotations

import hashlib

import pytest

from tests.worker.jobs.redis.submitting import (
    JOB,
    OTHER,
    pictures,
    record,
    submitted,
)
from worker.jobs.contract import JobRequest
from worker.jobs.redis.job_findings import Depth
from worker.jobs.redis.job_store import JobStore


def test_the_recipes_of_a_models_pictures_are_remembered(store: JobStore) -> None:
    submitted(store)
    assert store.run_digests(JOB, 0) == frozenset()
    store.remember_facts(JOB, 0, '{"device": "cpu"}', "r1")
    store.remember_facts(JOB, 0, '{"device": "cuda"}', "r2")
    store.remember_facts(JOB, 1, "{}", "r3")
    assert store.run_digests(JOB, 0) == {"r1", "r2"}
    assert store.run_digests(JOB, 1) == {"r3"}
    # As an older version left it: the facts alone.
    store.client.delete(f"gradcam:job:{JOB}:runs:1")
    assert store.run_digests(JOB, 1) == {hashlib.sha256(b"{}").hexdigest()}


def test_each_model_may_have_images_of_its_own(store: JobStore) -> None:
    request = JobRequest(experiment="experiment_x", pick="errors", max_images=3)
    job = record(images=3).model_copy(update={"request": request})
    assert store.create(job, pictures(10))
    state = store.state(JOB)
    assert state is not None
    assert store.chosen_images(state, 1) is None
    store.remember_choice(JOB, 1, [7, 2, 5])
    chosen = store.chosen_images(state, 1)
    assert chosen is not None
    assert [image.name for image in chosen] == ["i7", "i2", "i5"]
    assert store.chosen_images(state, 0) is None


def test_seconds_of_chunks_are_added_up_for_each_model(store: JobStore) -> None:
    submitted(store)
    assert store.seconds(JOB, 0) == 0
    store.add_seconds(JOB, 0, 1.5)
    store.add_seconds(JOB, 1, 10.0)
    store.add_seconds(JOB, 0, 0.25)
    assert (store.seconds(JOB, 0), store.seconds(JOB, 1)) == (1.75, 10.0)


@pytest.mark.parametrize("bits", [12, None])
def test_who_says_the_depth_first_is_right(store: JobStore, bits: int | None) -> None:
    submitted(store)
    assert store.depth(JOB) is None
    assert store.remember_depth(JOB, bits) == Depth(bits)
    assert store.remember_depth(JOB, 16) == Depth(bits)
    assert store.depth(JOB) == Depth(bits)
    assert store.depth(OTHER) is None


def test_facts_of_a_model_are_those_told_last(store: JobStore) -> None:
    submitted(store)
    assert store.facts(JOB, 0) is None
    store.remember_facts(JOB, 0, "{}", "r1")
    store.remember_facts(JOB, 0, '{"device": "cpu"}', "r2")
    assert (store.facts(JOB, 0), store.facts(JOB, 1)) == ('{"device": "cpu"}', None)

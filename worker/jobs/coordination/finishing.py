"""What a job leaves behind when it ends: summaries, its own file, and free folders."""

from __future__ import annotations

import json
from collections.abc import Iterator

import structlog

from cam_engine import text_keys
from cam_engine.class_names import class_meant, no_classes
from cam_engine.errors import CamError
from cam_engine.experiments.skipped import NOTHING
from cam_engine.outputs.summaries import ModelSummary, row_from_json
from cam_engine.pictures.recipes import Failed, Row, RunFacts, run_facts_from_json
from worker.jobs.contract import ItemFailure, ItemState, JobImage, JobState
from worker.jobs.outputs import job_files
from worker.jobs.outputs.places import Places
from worker.jobs.outputs.storage import OutputFolder
from worker.jobs.redis.job_store import JobStore

_log = structlog.get_logger(__name__)

# Of a figure whose row is not as it was written: somebody has put another in its place.
_DAMAGED = (KeyError, TypeError, ValueError, RecursionError)


class Finisher:
    """Writes what belongs to a job's end; all of it may be done twice."""

    def __init__(self, store: JobStore, places: Places) -> None:
        self._store = store
        self._places = places

    def write_summaries(self, state: JobState) -> None:
        """summary.csv, summary.json and manifest.json of each model, and merged at the root."""
        record = state.record
        job, count = record.id, record.image_count
        states = self._store.item_states(job, record.total, ended=True)
        failures = self._store.failures(job)
        summaries = []
        try:
            output = self._places.output(record)
            folders = [image.true_class for image in self._store.images(job)]
            for index in range(len(record.models)):
                facts = self._store.facts(job, index)
                if facts is None:
                    continue  # it was never loaded: nothing of it was made
                images = self._store.chosen_images(state, index)
                if images is None:
                    continue  # none was chosen for it: nothing of it was made
                first = index * count
                mine = states[first : first + count]
                why = {
                    i - first: failure for i, failure in failures.items() if 0 <= i - first < count
                }
                run_facts = run_facts_from_json(facts)
                rows = tuple(_rows(output, run_facts, images, mine, why))
                if not rows:
                    continue
                summaries.append(
                    ModelSummary(
                        run_facts,
                        rows,
                        self._store.seconds(job, index),
                        skipped=record.left_out or NOTHING,
                        folders_of_no_class=no_classes(folders, run_facts.class_names),
                    )
                )
                if record.request.replace and summaries[-1].succeeded:
                    self._remove_others(output, state, index)
            if summaries:
                # Its own first: merging reads what others wrote, which may be damaged.
                output.write_results(job, summaries)
                output.write_summaries(summaries)
        except (CamError, OSError, *_DAMAGED) as error:
            _log.error("summaries not written", job=job, reason=str(error))

    def _remove_others(self, output: OutputFolder, state: JobState, model: int) -> None:
        """What other recipes made in a model's folder, which the job asked to replace."""
        job, name = state.record.id, state.record.models[model].name
        removed = output.remove_made_otherwise(name, self._store.run_digests(job, model))
        if removed:
            _log.info("pictures of another recipe removed", job=job, model=name, pictures=removed)

    def remove_half_written(self, state: JobState) -> None:
        """What workers that were killed left in the folders of the job's models."""
        try:
            output = self._places.output(state.record)
            for model in state.record.models:
                output.remove_half_written(model.name)
        except (CamError, OSError) as error:
            job, reason = state.record.id, str(error)
            _log.warning("half written files not removed", job=job, reason=reason)

    def write_job_file(self, state: JobState, status: str) -> None:
        """The job's file with its end."""
        try:
            output = self._places.output(state.record)
            job_files.write_status(output, state.record.id, state, status)
        except (CamError, OSError, ValueError) as error:
            _log.error("job file not written", job=state.record.id, reason=str(error))

    def remove_job(self, state: JobState) -> None:
        """The job's file, and its folder."""
        try:
            self._places.output(state.record).remove_job(state.record.id)
        except (CamError, OSError) as error:  # the experiment itself is gone, for one
            _log.warning("job file not removed", job=state.record.id, reason=str(error))

    def let_go(self, state: JobState) -> None:
        """Free the folders of the job's models."""
        try:
            output = self._places.output(state.record)
            for model in state.record.models:
                output.release(model.name, state.record.id)
        except (CamError, OSError) as error:  # void all the same once the job's file says "ended"
            _log.warning("folders not let go", job=state.record.id, reason=str(error))


def _rows(
    output: OutputFolder,
    run_facts: RunFacts,
    images: list[JobImage],
    states: list[ItemState],
    failures: dict[int, ItemFailure],
) -> Iterator[Row]:
    """Rows of the images that have their state; a figure carries its own row."""
    made = [image.name for image, state in zip(images, states, strict=True) if state == "succeeded"]
    texts = output.figure_texts(run_facts.model, made)
    for index, (image, state) in enumerate(zip(images, states, strict=True)):
        if state == "succeeded":
            yield row_from_json(json.loads(next(texts)[text_keys.ROW]))
        elif state == "failed" and index in failures:
            why = failures[index]
            true_class = class_meant(image.true_class, run_facts.class_names)
            yield Failed(image.path, image.name, true_class, why.code, why.detail)

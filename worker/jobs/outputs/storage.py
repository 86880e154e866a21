"""Where jobs keep their outputs: what `posix`, a folder that all machines share, and `s3` promise.

In both an output folder is whole in itself: a folder a model, summaries, and `runs/<job>/` with
the job's file and, once it has ended, its own summaries in `results/`. `sets/<name>/` in it are
output folders again.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cam_engine.confined import ConfinedFolder
from cam_engine.experiments.finding import ImageItem
from cam_engine.outputs.files import make_plain_folder
from cam_engine.outputs.provenance import Provenance
from cam_engine.outputs.summaries import ModelSummary, write_merged_summary, write_model_summary
from worker.jobs.contract import JobFolder, JobRequest

RESULTS = "results"


@dataclass(frozen=True, slots=True)
class FoundJob:
    """A job's file, with the output folder that it lies in and the job that its place names."""

    folder: JobFolder
    job: str
    content: bytes


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of an output folder by its path there; content: reads it, from its beginning."""

    path: str
    size: int
    content: Callable[[], Iterator[bytes]]

    @property
    def media_type(self) -> str:
        """By its name."""
        return media_type(self.path)


class Workspace(Protocol):
    """Where a worker writes the pictures of a chunk."""

    @property
    def folder(self) -> ConfinedFolder:
        """The folder to write into."""

    def made_before(
        self, run_digest: str, items: Sequence[ImageItem]
    ) -> Mapping[int, Sequence[str]]:
        """Items, by position, whose whole pictures were made by the run of that digest.

        With what was assumed of each, as sentences. Only those that cannot be seen in `folder`.
        """

    def publish(self, files: Sequence[Path], then: Callable[[], None]) -> None:
        """An image's files, by their paths below `folder`, are written: the main figure last.

        `then` is called in the caller's thread once they are where they belong, image after image,
        perhaps at a later call. Raises OutputNotWritable.
        """

    def wait(self) -> None:
        """Return once all that was published is where it belongs. Raises OutputNotWritable."""


class OutputFolder(Protocol):
    """The output of a job.

    What writes raises OutputNotWritable; what reads raises OSError, FileNotFoundError among them.
    """

    @property
    def shown(self) -> str:
        """For people: its path below the root."""

    def check_writable(self) -> None:
        """Raise OutputNotWritable where it is known beforehand that nothing can be written."""

    def acquire(self, model: str, job: str) -> None:
        """Take a model's folder for a job, or keep it. Raises OutputBusy."""

    def release(self, model: str, job: str) -> None:
        """Let a model's folder go; nothing happens where another has it."""

    def workspace(self, model: str) -> AbstractContextManager[Workspace]:
        """Where the model's pictures are written."""

    def figure_texts(self, model: str, names: Sequence[str]) -> Iterator[Mapping[str, str]]:
        """Text chunks of main figures, one after the other. Raises CamError."""

    def figures(self, model: str) -> list[str]:
        """Names of the images that a main figure is there for."""

    def provenance(self, paths: Sequence[str]) -> Iterator[Provenance | None]:
        """What made the PNGs of these paths; None for those not there, and not of ours."""

    def remove_made_otherwise(self, model: str, run_digests: Collection[str]) -> int:
        """Remove the model's pictures that runs of other digests made; how many files."""

    def write_summaries(self, summaries: Sequence[ModelSummary]) -> None:
        """Each model's, and the merged ones of all models in the folder."""

    def write_results(self, job: str, summaries: Sequence[ModelSummary]) -> None:
        """The same three files of the job's models alone, kept with its run for good."""

    def results(self, job: str) -> Iterator[StoredFile]:
        """What `write_results` wrote, by paths as in the output folder."""

    def remove_half_written(self, model: str) -> None:
        """Clear what killed workers left in the folder of a model that nobody writes to now."""

    def write_job_file(self, job: str, content: bytes, *, finished: bool) -> None:
        """A job's file."""

    def read_job_file(self, job: str) -> bytes:
        """A job's file."""

    def remove_job(self, job: str) -> None:
        """Remove all that is kept of a run, if it is there."""

    def file(self, path: str) -> StoredFile | None:
        """The file of that path; None for those that are not there or not shown.

        Raises PathOutsideRoot.
        """


class OutputStorage(Protocol):
    """All jobs' outputs."""

    def place(self, request: JobRequest) -> JobFolder:
        """Where the pictures of a request go, sets apart. Raises CamError."""

    def open(self, folder: JobFolder) -> OutputFolder:
        """The output there. Raises PathOutsideRoot or InvalidOption."""

    def unfinished_jobs(self) -> Iterator[FoundJob]:
        """Files of all jobs that have not ended, and perhaps of others."""


def media_type(path: str) -> str:
    """By the name's suffix."""
    return mimetypes.guess_type(path)[0] or "application/octet-stream"


def write_summaries_into(folder: ConfinedFolder, summaries: Sequence[ModelSummary]) -> None:
    """Each model's summary below an empty folder, and the merged one. Raises OutputNotWritable."""
    for summary in summaries:
        own = folder.within(summary.facts.model)
        make_plain_folder(own)
        write_model_summary(own, summary)
    write_merged_summary(folder)

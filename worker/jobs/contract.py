"""What a job is: its request, its record, its states. Shared by the service and the workers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator

from cam_engine.experiments.skipped import Skipped
from cam_engine.options import STAGES, CamOptions, FigureStyle, Pick
from cam_engine.outputs.folder_lock import FINISHED, FinalStatus
from worker.jobs.cam_fields import CamFields, LayerName, whole

OpenStatus = Literal["queued", "running", "canceling"]
JobStatus = Literal[OpenStatus, FinalStatus]
UNFINISHED: tuple[OpenStatus, ...] = get_args(OpenStatus)
ItemState = Literal["pending", "succeeded", "failed", "skipped"]

# What a folder of pictures is below: the data root, GRADCAM_OUTPUT_ROOT, or the store's prefix.
Below = Literal["data", "output", "store"]
SETS = "sets"

SET_NAME = "[A-Za-z0-9][A-Za-z0-9._+-]{0,63}"
# Ids are parts of paths and keys: nothing else may ever stand in their place.
JobId = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
ModelFilter = Annotated[str, Field(min_length=1, max_length=200)]


class JobRequest(CamFields):
    """POST /v1/jobs: many models over many images of one experiment."""

    model_config = ConfigDict(strict=True)

    experiment: str = Field(min_length=1, max_length=500, description="path from /v1/experiments")
    models: tuple[ModelFilter, ...] = Field(
        (),
        max_length=200,
        strict=False,
        description="only models whose folder contains one of these; default: all",
    )
    max_images: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        10, description="images a model; null: all"
    )
    pick: Pick = Field(
        "balanced",
        description="which, where there are more; errors: for each model those in whose true class "
        "it trusts least",
    )
    seed: int = Field(0, ge=0, le=2**32 - 1, description="of pick=random")
    layers: tuple[LayerName, ...] = Field(
        STAGES,
        min_length=1,
        max_length=16,
        strict=False,
        description="early, mid, late, fused, or modules' names",
        json_schema_extra={"uniqueItems": True},
    )
    fused: bool = Field(False, description="also the fused map")
    save_maps: bool = Field(False, description="also each map as 16-bit grey PNG")
    resume: bool = Field(False, description="keep pictures that are there, whole and made so")
    output: Annotated[str, Field(min_length=1, max_length=500)] | None = Field(
        None, description="folder below the output root; default: the experiment's own"
    )
    name: Annotated[str, Field(pattern=f"^{SET_NAME}$")] | None = Field(
        None,
        description="pictures go into a set of this name within the output folder; default: into "
        "the folder itself, or where another recipe's pictures are, into a set of their own",
    )
    replace: bool = Field(
        False, description="replace another recipe's pictures that are in the models' folders"
    )
    webhook: Annotated[str, Field(max_length=2000, pattern="^https?://")] | None = Field(
        None, description="address that is told how the job ended"
    )

    _integers = field_validator("target", "max_images", "seed", "page", mode="before")(whole)

    def cam_options(self) -> CamOptions:
        """The engine's options. Raises InvalidOption."""
        layers = tuple(name for name in self.layers if name != "fused") or STAGES
        return self.options_for(layers, fused=self.fused or "fused" in self.layers)

    def figure_style(self) -> FigureStyle:
        """Which files are made of an image."""
        return FigureStyle(save_maps=self.save_maps)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class JobFolder(_Part):
    """Where pictures are: a path below one of the places that settings name."""

    below: Below
    path: Annotated[str, Field(min_length=1, max_length=1000)]

    def set_named(self, name: str) -> JobFolder:
        """The set of that name within it."""
        return JobFolder(below=self.below, path=f"{self.path}/{SETS}/{name}")


class JobModel(_Part):
    """A model of a job; name: its folder, into which its pictures go."""

    id: str
    name: str
    checkpoint_sha256: Sha256


class Progress(_Part):
    """Images times models, by state; what is missing to the total is still to be done."""

    total: int
    succeeded: int
    failed: int
    skipped: int

    @property
    def done(self) -> int:
        """Items that were worked on."""
        return self.succeeded + self.failed


class JobError(_Part):
    """Why a job failed: by its input, or by the system."""

    kind: Literal["input", "system"]
    code: str
    detail: str


class JobNotice(_Part):
    """What was assumed, and of how much."""

    text: str
    count: int = Field(description="how many of them it was said of")
    of: Literal["images", "models", "notices"] = Field(
        description="models: it is of their files; notices: so many more are not listed"
    )
    model: str | None = Field(
        description="the only model that it is of; null for several, and for images that all of "
        "the job's models explain, of which each counts once"
    )


class JobImage(_Part):
    """One image of a job: its path below the experiment, the name of its pictures."""

    path: str
    name: str
    true_class: str | None


class JobRecord(_Part):
    """What does not change once the job is accepted; it also stands in the run's manifest.

    folder: None in older records, whose place follows from the request. owner: the label of the
    API key that submitted it; None without keys, and in older records. left_out: of the
    experiment's images and models; None in older records.
    """

    id: JobId
    created_at: datetime
    request: JobRequest
    models: tuple[JobModel, ...]
    image_count: Annotated[int, Field(ge=0)]
    output: str
    folder: JobFolder | None = None
    owner: str | None = None
    left_out: Skipped | None = None

    @property
    def total(self) -> int:
        """Items: images times models."""
        return self.image_count * len(self.models)


class JobState(_Part):
    """A job as it stands; activity: what a worker does for it at the moment, in words.

    notices: what was assumed until now; none of jobs that older versions did.
    """

    record: JobRecord
    status: JobStatus
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None
    progress: Progress
    error: JobError | None
    activity: str | None = None
    notices: tuple[JobNotice, ...] = ()

    @property
    def finished(self) -> bool:
        """Whether nothing will change any more, short of a retry."""
        return self.status in FINISHED


class ItemFailure(_Part):
    """Why an item failed."""

    code: str
    detail: str


class Chunk(_Part):
    """Images [start, end) of one model of a job; attempt counts from 1."""

    job: JobId
    model: int
    start: int
    end: int
    attempt: int

    @property
    def key(self) -> str:
        """Which images, whatever the attempt."""
        return f"{self.model}:{self.start}:{self.end}"

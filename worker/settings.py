"""What one worker needs to know beside what all share."""

from __future__ import annotations

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from cam_engine.options import PrecisionName
from worker.jobs.settings import JobSettings


class WorkerSettings(JobSettings):
    """Settings of one worker."""

    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    precision: PrecisionName = Field("auto", description="auto, float32 or bfloat16")
    batch_size: PositiveInt | None = Field(None, description="most images a pass")
    cached_models: PositiveInt = Field(4, description="most models in memory")
    data_patience_seconds: PositiveFloat = Field(
        30.0, description="a request to a bucket of data that fails is made again for so long"
    )
    niceness: int = Field(
        10,
        ge=0,
        le=19,
        description="how far the worker lets other processes of the machine have the cores first; "
        "0: not at all",
    )
    drawing_processes: NonNegativeInt | None = Field(
        None,
        description="processes that draw pictures; 0: threads do; default: beside a GPU one for "
        "each core but one, else none",
    )

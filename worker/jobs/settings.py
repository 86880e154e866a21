"""What jobs need to know, from the environment (prefix GRADCAM_): the same on every machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    SecretStr,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from cam_engine.stores import access
from cam_engine.stores.access import GIB, MirrorOptions
from worker.jobs.cam_fields import split_names

Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(split_names)]


class JobSettings(BaseSettings):
    """Settings of jobs, for the service and for workers."""

    model_config = SettingsConfigDict(env_prefix="GRADCAM_", frozen=True, extra="forbid")

    data: Path = Field(
        Path("results"),
        description="data root, on storage that all share; or s3://bucket/prefix (extra `s3`, "
        "AWS_* variables)",
    )
    data_cache: Path | None = Field(
        None, description="folder for files of a bucket; default: the user's for caches"
    )
    data_cache_bytes: PositiveInt = Field(
        20 * GIB, description="room in it; what was not read for longest is put out"
    )
    data_listing_seconds: NonNegativeFloat = Field(
        30.0, description="how long a look at what a bucket holds is believed"
    )
    data_patience_seconds: PositiveFloat = Field(
        5.0, description="a request to a bucket of data that fails is made again for so long"
    )
    output_root: Path | None = Field(
        None,
        description="where all jobs' pictures go, and where `output` may name folders; default: "
        "beside each experiment",
    )
    output_store: str | None = Field(
        None,
        description="s3://bucket/prefix: outputs of jobs go there (extra `s3`, AWS_* variables)",
    )
    redis_url: str | None = Field(
        None, repr=False, description="redis://host:6379/0 or unix:///path; without it, no jobs"
    )
    redis_prefix: str = Field("gradcam", description="of all keys")
    chunk_seconds: PositiveFloat = Field(40.0, description="aimed-at duration of a task")
    lease_seconds: PositiveInt = Field(30, description="a silent worker loses its chunk after it")
    attempts: PositiveInt = Field(3, description="a chunk that costs so many workers fails")
    job_days: PositiveFloat = Field(30.0, description="an ended job's record is kept so long")
    decoding_seconds: PositiveFloat = Field(
        5.0, description="of a processor, that decoding an image may take; four times by the clock"
    )
    decoding_processes: PositiveInt | None = Field(
        None, description="processes that decode images; default: by cores, 2 to 4"
    )
    networks: Names = Field(
        (), description="networks of your own, name=package.module:factory each, by `model_name`"
    )
    webhook_hosts: Names = Field((), description="hosts that webhooks may go to")
    webhook_secret: SecretStr | None = Field(None, description="whsec_..., signs webhooks")

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"

    @property
    def data_folder(self) -> Path:
        """The data root on this machine; of one in a bucket, the mirror of it.

        Raises InvalidOption for an address that cannot be one, or without the extra.
        """
        options = MirrorOptions(
            self.data_cache,
            self.data_cache_bytes,
            self.data_listing_seconds,
            self.data_patience_seconds,
        )
        return access.local(self.data, options)

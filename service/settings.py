"""Everything that can be set: one typed class, read from the environment (prefix GRADCAM_)."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
)

from cam_engine.options import PrecisionName
from worker.jobs.settings import JobSettings, Names

MIB = 2**20
GIB = 2**30
_ORIGIN = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
_USUAL_PORT = re.compile(r"http:.*:80|https:.*:443")


def _exact_origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    """As browsers write them, or none would ever match. Raises ValueError."""
    for origin in origins:
        if not _ORIGIN.fullmatch(origin) or _USUAL_PORT.fullmatch(origin):
            raise ValueError(
                f"{origin!r} is no exact origin: write scheme://host or scheme://host:port in "
                "small letters, without the scheme's usual port, path or wildcard"
            )
    return origins


def _without_last_slash(path: str) -> str:
    return path.rstrip("/")


def _host_names(hosts: tuple[str, ...]) -> tuple[str, ...]:
    """As Host headers have them, without port. Raises ValueError."""
    for host in hosts:
        if not _NAME.fullmatch(host):
            raise ValueError(
                f"{host!r} is no name of a host: write it in small letters, without scheme, port, "
                "path or wildcard"
            )
    return hosts


def _networks(given: tuple[str, ...]) -> tuple[str, ...]:
    """Addresses and networks in numbers. Raises ValueError."""
    for key in given:
        try:
            ipaddress.ip_network(key)
        except ValueError as error:
            raise ValueError(f"{key!r} is no address or network of a proxy: {error}") from error
    return given


HostNames = Annotated[Names, AfterValidator(_host_names)]
Networks = Annotated[Names, AfterValidator(_networks)]
Origins = Annotated[Names, AfterValidator(_exact_origins)]


class Settings(JobSettings):
    """Settings of one service process; built once and passed in."""

    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    precision: PrecisionName = Field("auto", description="auto, float32 or bfloat16")
    batch_size: PositiveInt | None = Field(
        None, description="most images a pass; 1 switches gathering off; default by device"
    )
    gather_milliseconds: NonNegativeFloat = Field(
        4.0, le=100, description="longest wait for images that are being decoded; none when idle"
    )

    default_model: str | None = Field(None, description="id of the model used where none is named")
    pinned_models: Names = Field((), description="ids of models that are loaded first and kept")
    cached_models: PositiveInt = Field(4, description="most models in memory, pinned ones included")
    cached_model_bytes: PositiveInt = Field(4 * GIB, description="most bytes of models in memory")
    catalog_seconds: NonNegativeFloat = Field(
        5.0, description="how long a look at the data root's folders holds"
    )

    max_upload_bytes: PositiveInt = Field(32 * MIB, description="largest image file")
    max_pixels: PositiveInt = Field(50_000_000, description="most pixels of an image")
    max_in_flight: PositiveInt = Field(64, description="requests computed or waiting at once")
    request_timeout_seconds: PositiveFloat = Field(30.0, description="deadline of a request")
    drain_seconds: NonNegativeFloat = Field(
        0.0,
        le=600,
        description="after SIGTERM /readyz is 503, and so long requests are still taken; for those "
        "that ask /readyz whom to send requests to",
    )
    sync_max_images: PositiveInt = Field(8, description="most images answered at once")
    answers_bytes: PositiveInt = Field(32 * MIB, description="memory for answers to be had again")
    shared_answers_bytes: NonNegativeInt = Field(
        256 * MIB,
        description="room in Redis for answers that all processes can give again; 0: each its own",
    )
    shared_answers_seconds: PositiveInt = Field(
        28_800, description="how long after its last use an answer is kept in Redis"
    )
    io_threads: PositiveInt | None = Field(
        None, description="threads that draw and encode; default: by cores"
    )

    api_keys: Names = Field(
        (), repr=False, description="keys, or sha256:<hex> of keys; `gradcam key` makes one"
    )
    auth: Literal["auto", "off"] = Field(
        "auto", description="off: no keys although the service can be reached from elsewhere"
    )
    jobs_visible: Literal["all", "own"] | None = Field(
        None,
        description="own: each API key sees, stops and removes its own jobs only; default: own "
        "where there are keys",
    )
    rate_limit: str | None = Field(None, description='a key: "120/minute", "10/second;500/hour"')
    rate_limit_storage: str = Field(
        "memory://", repr=False, description="memory:// or redis://host:6379/0"
    )
    hosts: HostNames = Field(
        (),
        description="names that the service is opened by, beside localhost and addresses in "
        "numbers; default: with API keys any, without none",
    )
    trusted_proxies: Networks = Field(
        (), description="addresses or networks of proxies whose X-Forwarded-For is believed"
    )
    cors_origins: Origins = Field((), description="exact origins whose pages may call the service")
    frame_ancestors: Origins = Field(
        (), description="exact origins whose pages may show /embed/viewer in a frame"
    )
    view_secret: SecretStr | None = Field(
        None,
        min_length=16,
        description="signs view tokens; default: random, so several processes need the same",
    )
    root_path: Annotated[str, AfterValidator(_without_last_slash)] = Field(
        "", description="the path under which a proxy offers the service"
    )

    tracing: bool = Field(False, description="OpenTelemetry spans (extra `otel`, OTEL_* variables)")

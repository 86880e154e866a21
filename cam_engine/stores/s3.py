"""The store of a bucket, through obstore, which reads the AWS_* variables itself."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING

from cam_engine.errors import InvalidOption

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Store

_CLIENT: ClientConfig = {"connect_timeout": "5s", "timeout": "30s"}


def s3_store(
    bucket: str, prefix: str | None, *, wanted_by: str, patience_seconds: float = 30.0
) -> S3Store:
    """A bucket, or what is below a prefix of it; nothing is asked of it yet.

    wanted_by: the setting that names it, for the error. patience_seconds: a request that fails is
    made again for so long. Raises InvalidOption without the extra.
    """
    try:
        from obstore.store import S3Store  # noqa: PLC0415 (an extra)
    except ImportError as error:
        raise InvalidOption(
            f"{wanted_by} needs an extra: pip install 'gradcam-service[s3]'"
        ) from error
    plain = endpoint().startswith("http://")
    retries: RetryConfig = {
        "max_retries": 50,
        "retry_timeout": timedelta(seconds=patience_seconds),
        "backoff": {"max_backoff": timedelta(seconds=3)},
    }
    return S3Store(
        bucket,
        prefix=prefix,
        client_options={**_CLIENT, "allow_http": plain},
        retry_config=retries,
    )


def endpoint() -> str:
    """Where buckets are that are not Amazon's; "" for Amazon's."""
    return os.environ.get("AWS_ENDPOINT_URL", "")

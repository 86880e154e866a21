"""An S3-compatible store through obstore, with the errors of this project."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, NoReturn
from urllib.parse import urlsplit

import structlog

from cam_engine.confined import parts_of
from cam_engine.errors import InvalidOption, OutputNotWritable, PathOutsideRoot
from cam_engine.stores.s3 import s3_store
from worker.jobs.outputs.storage import media_type

try:
    import obstore
    from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
except ImportError as error:
    raise InvalidOption(
        "GRADCAM_OUTPUT_STORE needs an extra: pip install 'gradcam-service[s3]'"
    ) from error

if TYPE_CHECKING:
    from obstore import UpdateVersion

_log = structlog.get_logger(__name__)

_ERRORS = (BaseError, OSError)  # obstore raises FileNotFoundError for what is not there


class Objects:
    """Objects by keys below a prefix. Raises OutputNotWritable, and OSError where it reads.

    Keys are held to the rules that paths below a folder are held to; see `confined.parts_of`.
    Raises PathOutsideRoot for others, before the store is asked.
    """

    def __init__(self, address: str) -> None:
        """`address`: s3://bucket/prefix. Raises InvalidOption."""
        parts = urlsplit(address)
        if parts.scheme != "s3" or not parts.netloc:
            raise InvalidOption(f"GRADCAM_OUTPUT_STORE is {address!r}: give s3://bucket/prefix")
        self._store = s3_store(
            parts.netloc, parts.path.strip("/") or None, wanted_by="GRADCAM_OUTPUT_STORE"
        )

    def read(self, key: str) -> bytes:
        """The object. Raises FileNotFoundError or OSError."""
        with _reading(key):
            return bytes(obstore.get(self._store, _key(key)).bytes())

    def read_start(self, key: str, size: int) -> bytes:
        """The object's first bytes. Raises FileNotFoundError or OSError."""
        with _reading(key):
            return bytes(obstore.get_range(self._store, _key(key), start=0, end=size))

    def read_tagged(self, key: str) -> tuple[bytes, str]:
        """The object and its entity tag. Raises FileNotFoundError or OSError."""
        with _reading(key):
            stored = obstore.get(self._store, _key(key))
            return bytes(stored.bytes()), stored.meta["e_tag"] or ""

    def stream(self, key: str) -> Iterator[bytes]:
        """The object in pieces, opened when the first is asked for."""
        with _reading(key):
            for piece in obstore.get(self._store, _key(key)).stream():
                yield bytes(piece)

    def size(self, key: str) -> int | None:
        """Bytes of the object; None where there is none. Raises OSError."""
        try:
            with _reading(key):
                return obstore.head(self._store, _key(key))["size"]
        except FileNotFoundError:
            return None

    def below(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Keys below a folder, in their order, with their sizes. Raises OSError."""
        with _reading(prefix):
            for batch in obstore.list(self._store, _key(prefix)):
                for item in batch:
                    yield item["path"], item["size"]

    def folders(self, prefix: str) -> list[str]:
        """Keys of the folders right below a folder. Raises OSError."""
        with _reading(prefix):
            return sorted(obstore.list_with_delimiter(self._store, _key(prefix))["common_prefixes"])

    def write(self, key: str, content: bytes) -> None:
        """Put an object, in the place of any that is there."""
        kind = {"Content-Type": media_type(key)}
        name = _key(key)
        try:
            obstore.put(self._store, name, content, attributes=kind)
        except _ERRORS as error:
            not_writable(key, error)

    def replace(self, key: str, content: bytes, tag: str | None) -> bool:
        """Put an object in the place of that one of this tag, or (None) of none; False: neither."""
        name = _key(key)
        mode: Literal["create"] | UpdateVersion = "create" if tag is None else {"e_tag": tag}
        try:
            obstore.put(self._store, name, content, mode=mode, use_multipart=False)
        except (AlreadyExistsError, PreconditionError):
            return False
        except _ERRORS as error:
            not_writable(key, error)
        return True

    def remove(self, key: str) -> None:
        """Remove an object, if it is there."""
        name = _key(key)
        try:
            obstore.delete(self._store, name)
        except FileNotFoundError:
            return
        except _ERRORS as error:
            not_writable(key, error)


def _key(key: str) -> str:
    """The key, where it is made of plain names. Raises PathOutsideRoot."""
    if not (parts := parts_of(key)):
        raise PathOutsideRoot(f"{key!r} names no object")
    return "/".join(parts)


@contextmanager
def _reading(key: str) -> Iterator[None]:
    """Inside it, what obstore raises becomes OSError."""
    try:
        yield
    except BaseError as error:
        raise OSError(f"cannot read {key}: {_reason(error)}") from error


def not_writable(key: str, error: Exception) -> NoReturn:
    """Raise OutputNotWritable for an object, and log the whole reason."""
    _log.error("output store", key=key, reason=str(error).partition("\n")[0])
    raise OutputNotWritable(
        f"cannot write {key} to the output store: {_reason(error)}; see the log, and the AWS_* "
        "variables of the service and the workers"
    ) from error


def _reason(error: Exception) -> str:
    return type(error).__name__.removesuffix("Error")

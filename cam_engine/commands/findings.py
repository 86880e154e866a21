"""What is missing or damaged in a folder of figures: a fence round each file, and what it kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from PIL import Image

from cam_engine.errors import error_of_item
from cam_engine.short_names import speakable

_OF_DAMAGED_FILES = (
    SyntaxError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
    Image.DecompressionBombError,
)


@dataclass(frozen=True, slots=True)
class Finding:
    """A file or folder that could not be looked at: its path below the folder, and why."""

    path: str
    code: str
    detail: str


class Findings:
    """Gathers what went wrong with single files, each file once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._found: dict[str, Finding] = {}

    def add(self, path: Path, code: str, detail: str) -> None:
        """Unless something was found out about the file before."""
        shown = path.relative_to(self._root).as_posix() if path != self._root else "."
        self._found.setdefault(shown, Finding(speakable(shown), code, speakable(detail)))

    def fence(self, path: Path, damaged: str = "invalid-image") -> _Fence:
        """Whatever is raised inside concerns this file alone; damaged: the code for its content."""
        return _Fence(self, path, damaged)

    def all(self) -> list[Finding]:
        """By path."""
        return sorted(self._found.values(), key=lambda finding: finding.path)


class _Fence:
    def __init__(self, findings: Findings, path: Path, damaged: str) -> None:
        self._findings = findings
        self._path = path
        self._damaged = damaged

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Whether what was raised has become a finding."""
        if not isinstance(raised, Exception):
            return False
        self._findings.add(self._path, *self._told(raised))
        return True

    def _told(self, raised: Exception) -> tuple[str, str]:
        match raised:
            case FileNotFoundError():
                return "image-not-found", "it is missing"
            case OSError():
                return self._damaged, f"it cannot be read: {raised.strerror or raised}"
            case _ if isinstance(raised, _OF_DAMAGED_FILES):
                why = ": ".join(filter(None, (type(raised).__name__, str(raised))))
                return self._damaged, f"it is damaged, or not of this software ({why})"
        error = error_of_item(raised, self._path.name)
        return error.code, str(error)

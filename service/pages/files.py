"""The files of the pages: read once, each with its addresses, and what scripts import.

One version, the digest of all files, is a part of their addresses: /static/<version>/<path>.
Browsers may keep what is there for ever. Imports are relative, so a page that names its scripts
with the version gets all that they import with it too.
"""

from __future__ import annotations

import gzip
import hashlib
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

from service.pages.facts import facts_script

STATIC = Path(__file__).parents[1] / "static"
FACTS = "viewer/common/facts.js"
# Portals load the viewer from their own origins, those of GRADCAM_CORS_ORIGINS: its address, and
# the folder of what that imports.
ELEMENT = "cam-viewer.js"
_FOR_PORTALS = re.compile(rf"{re.escape(ELEMENT)}|viewer/.+")

_TYPES: Mapping[str, str] = MappingProxyType(
    {
        ".css": "text/css; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".svg": "image/svg+xml",
    }
)
_VERSION_DIGITS = 12
_VERSIONED = re.compile(rf"(?P<version>[0-9a-f]{{{_VERSION_DIGITS}}})/(?P<path>.+)")
_IMPORT = re.compile(
    r"""^(?:import|export)\b[^;"']*?\bfrom\s*["']([^"']+)["']|^import\s*["']([^"']+)["']""",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Form:
    """A file's bytes as they are sent, and their entity tag."""

    body: bytes
    tag: str


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file, plain and packed by gzip; for_portals: pages of other origins may load it."""

    media_type: str
    plain: Form
    packed: Form
    for_portals: bool


class StaticFiles:
    """Files by their paths, such as "shared/api.js".

    version: of all of them together.
    """

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        """Raises ValueError where a script imports what is not there."""
        digest = hashlib.sha256()
        for path, body in sorted(contents.items()):
            digest.update(f"{path}\n{len(body)}\n".encode() + body)
        self.version = digest.hexdigest()[:_VERSION_DIGITS]
        self._files = {path: _file(path, body) for path, body in contents.items()}
        # Portals name the viewer without a version; all behind it has one.
        leads_on = f'export {{ CamViewer }} from "./{self.version}/{ELEMENT}";\n'
        self._entrance = _file(ELEMENT, leads_on.encode())
        self._imports = {
            path: _imported(path, body.decode(), contents)
            for path, body in contents.items()
            if path.endswith(".js")
        }

    def at(self, address: str) -> tuple[StaticFile, bool] | None:
        """The file below /static/, and whether it is for ever the same there; None without one.

        A page of another version gets the files that there are.
        """
        named = _VERSIONED.fullmatch(address)
        if named is None:
            file = self._entrance if address == ELEMENT else self._files.get(address)
            return None if file is None else (file, False)
        file = self._files.get(named["path"])
        return None if file is None else (file, named["version"] == self.version)

    def named(self, path: str) -> StaticFile:
        """The file of that path. Raises KeyError."""
        return self._files[path]

    def modules(self, script: str) -> tuple[str, ...]:
        """The script and all that it imports, the nearest first. Raises KeyError."""
        reached = dict.fromkeys([script])
        waiting = [script]
        for path in waiting:
            waiting += [imported for imported in self._imports[path] if imported not in reached]
            reached |= dict.fromkeys(self._imports[path])
        return tuple(reached)


@cache
def static_files() -> StaticFiles:
    """Those of the service: what lies in static/, and the module of facts."""
    contents = {
        file.relative_to(STATIC).as_posix(): file.read_bytes()
        for file in STATIC.rglob("*")
        if file.suffix in _TYPES
    }
    return StaticFiles({**contents, FACTS: facts_script().encode()})


def _file(path: str, body: bytes) -> StaticFile:
    return StaticFile(
        media_type=_TYPES[posixpath.splitext(path)[1]],
        plain=_form(body),
        packed=_form(gzip.compress(body, mtime=0)),
        for_portals=bool(_FOR_PORTALS.fullmatch(path)),
    )


def _form(body: bytes) -> Form:
    return Form(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"')


def _imported(path: str, text: str, known: Mapping[str, bytes]) -> tuple[str, ...]:
    named = ["".join(groups) for groups in _IMPORT.findall(text)]
    imports = [
        posixpath.normpath(posixpath.join(posixpath.dirname(path), script)) for script in named
    ]
    missing = [script for script in imports if script not in known]
    if missing:
        raise ValueError(f"{path} imports what is not there: {', '.join(missing)}")
    return tuple(imports)

"""Sections that are done already, kept beside the report: a run that was stopped goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from cam_engine.confined import ConfinedFolder
from cam_engine.errors import OutputNotWritable
from cam_engine.outputs.files import make_plain_folder, write_into
from cam_engine.reports.criteria import Section

FOLDER = "kept"


class KeptSections:
    """In a folder of the output, by digest of all that a section depends on."""

    def __init__(self, output: ConfinedFolder) -> None:
        self._folder = output.within(FOLDER)

    def read(self, digest: str) -> Section | None:
        """The section; None where none is kept, or it cannot be read."""
        try:
            return Section.from_kept(json.loads(self._folder.read(f"{digest}.json")))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, digest: str, section: Section) -> None:
        """Keep it. Raises OutputNotWritable."""
        make_plain_folder(self._folder)
        data = json.dumps(section.kept(), sort_keys=True).encode()
        write_into(self._folder, f"{digest}.json", data)

    def forget_others(self, digests: set[str]) -> None:
        """Remove what other checkpoints, crops or options left."""
        try:
            for name in self._folder.files():
                if name.endswith(".json") and name.removesuffix(".json") not in digests:
                    self._folder.remove(name)
        except OSError as error:
            raise OutputNotWritable(f"{FOLDER}: {error.strerror}") from error


def digest_of(facts: Mapping[str, Any]) -> str:
    """Hex digest of facts that JSON can say, whatever their order."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()

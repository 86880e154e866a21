"""Redis as service processes share in it: the way there, and the entries."""

from __future__ import annotations

from typing import NamedTuple

from service.sharing.entries import SharedEntries
from service.sharing.link import Link


class Shared(NamedTuple):
    """`entries` block and are called by `link`."""

    link: Link
    entries: SharedEntries

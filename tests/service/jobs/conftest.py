"""Jobs on a real Redis, worked off in this process."""

from __future__ import annotations

from tests.worker.conftest import redis_server, setting, store

__all__ = ["redis_server", "setting", "store"]

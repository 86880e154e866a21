"""What is known of a request's work so far, for its log line and the Server-Timing header."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Timings:
    """Where a request's time went, in seconds; of several images, the longest."""

    decode: float = 0.0
    queue: float = 0.0
    compute: float = 0.0
    encode: float = 0.0
    batch_size: int = 0

    def add(self, queue_seconds: float, compute_seconds: float, batch_size: int) -> None:
        """Take an image's waiting and computing into account, and the size of its batch."""
        self.queue = max(self.queue, queue_seconds)
        self.compute = max(self.compute, compute_seconds)
        self.batch_size = max(self.batch_size, batch_size)

    def header(self) -> str:
        """The Server-Timing header's value."""
        names = ("decode", "queue", "compute", "encode")
        return ", ".join(f"{name};dur={1000 * getattr(self, name):.1f}" for name in names)


@dataclass(slots=True)
class Work:
    """One request's answer in the making: what is known of it so far, for its log line."""

    model_id: str | None = None
    timings: Timings = field(default_factory=Timings)

"""What a request's work took, for its log line and a header."""

from __future__ import annotations

from service.http.work import Timings, Work


def test_of_several_images_the_longest_counts() -> None:
    timings = Timings(decode=0.0123)
    timings.add(0.5, 1.0, 4)
    timings.add(0.25, 2.0, 2)
    assert (timings.queue, timings.compute, timings.batch_size) == (0.5, 2.0, 4)
    assert (
        timings.header() == "decode;dur=12.3, queue;dur=500.0, compute;dur=2000.0, encode;dur=0.0"
    )


def test_nothing_is_known_at_first() -> None:
    one, other = Work(), Work()
    assert (one.model_id, one.timings) == (None, Timings())
    one.timings.add(1.0, 1.0, 1)
    assert other.timings == Timings()

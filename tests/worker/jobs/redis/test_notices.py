"""What was assumed of a job's models and images, counted in a real Redis."""

from __future__ import annotations

from tests.worker.jobs.redis.submitting import JOB, pictures, record, submitted
from worker.jobs.contract import Chunk, ItemFailure, JobNotice, JobRecord
from worker.jobs.redis.job_store import JobStore
from worker.jobs.redis.notices import MOST_COUNTED, MOST_LISTED

DEEP = "16 bits scaled by 12 bits (the folder's largest sample)"
BENEATH = "Transparency: the colours beneath it were read"
ORDER = "class order assumed: alphabetical"
UNREADABLE = ItemFailure(code="invalid-image", detail="not a whole image")


def taken(store: JobStore, images: int = 10) -> Chunk:
    chunk = store.cut(JOB, images)
    assert chunk is not None
    assert store.take(chunk, "w1", 30) == "go"
    return chunk


def notices(store: JobStore) -> list[tuple[str, int, str, str | None]]:
    state = store.state(JOB)
    assert state is not None
    return [(said.text, said.count, said.of, said.model) for said in state.notices]


def test_a_job_of_which_nothing_was_assumed_says_nothing(store: JobStore) -> None:
    submitted(store)
    store.mark(taken(store), "w1", 30, [0, 1], {2: UNREADABLE})
    assert notices(store) == []


def test_an_image_done_twice_counts_once(store: JobStore) -> None:
    submitted(store)
    chunk = taken(store)
    for _ in range(2):
        store.mark(chunk, "w1", 30, [0, 1], {}, {0: [DEEP], 1: [DEEP, BENEATH]})
    assert notices(store) == [(DEEP, 2, "images", None), (BENEATH, 1, "images", None)]


def test_an_image_that_failed_first_is_counted_once_it_succeeds(store: JobStore) -> None:
    submitted(store)
    chunk = taken(store)
    store.mark(chunk, "w1", 30, [], {0: UNREADABLE})
    store.mark(chunk, "w1", 30, [0], {}, {0: [DEEP]})
    assert notices(store) == [(DEEP, 1, "images", None)]


def test_who_lost_the_lease_counts_nothing(store: JobStore) -> None:
    submitted(store)
    chunk = taken(store)
    assert store.mark(chunk, "w2", 30, [0], {}, {0: [DEEP]}) == "lost"
    assert notices(store) == []


def test_images_that_two_models_explain_count_once(store: JobStore) -> None:
    submitted(store)
    for _ in range(2):
        chunk = taken(store)
        first = 10 * chunk.model
        items = [first, first + 3]
        store.mark(chunk, "w1", 30, items, {}, {item: [DEEP] for item in items})
        store.hand_in(chunk, "w1")
    assert notices(store) == [(DEEP, 2, "images", None)]


def test_where_models_choose_their_own_images_each_has_its_own_count(store: JobStore) -> None:
    plain = record()
    errors = plain.request.model_copy(update={"pick": "errors"})
    store.create(plain.model_copy(update={"request": errors}), pictures(10))
    for _ in range(2):
        chunk = taken(store)
        item = 10 * chunk.model
        store.mark(chunk, "w1", 30, [item], {}, {item: [DEEP]})
        store.hand_in(chunk, "w1")
    assert notices(store) == [
        (DEEP, 1, "images", "experiment_x/cls_0"),
        (DEEP, 1, "images", "experiment_x/cls_1"),
    ]


def test_what_is_assumed_of_models_names_the_one_or_counts_them(store: JobStore) -> None:
    submitted(store)
    for _ in range(2):  # each chunk says it again
        store.remember_facts(JOB, 1, "{}", "r1", [ORDER, "its own: with a colon"])
        store.remember_facts(JOB, 0, "{}", "r0", [ORDER])
    store.mark(taken(store), "w1", 30, [0], {}, {0: [DEEP]})
    assert notices(store) == [
        (ORDER, 2, "models", None),
        ("its own: with a colon", 1, "models", "experiment_x/cls_1"),
        (DEEP, 1, "images", None),
    ]


def test_the_most_frequent_are_listed_and_how_many_more_there_are(store: JobStore) -> None:
    submitted(store, models=1, images=100)
    said = {item: [f"Page {item + 1} of 100 was read", DEEP] for item in range(100)}
    store.mark(taken(store, 100), "w1", 30, list(said), {}, said)
    listed = notices(store)
    assert len(listed) == MOST_LISTED + 1
    assert listed[0] == (DEEP, 100, "images", None)
    more = 101 - MOST_LISTED
    text = f"{more} more: summary.json of each model has all of its own"
    assert listed[-1] == (text, more, "notices", None)


def test_redis_keeps_no_more_than_so_many(store: JobStore) -> None:
    many = MOST_COUNTED + 20
    submitted(store, models=1, images=many)
    said = {item: [f"Page {item + 1} was read"] for item in range(many)}
    chunk = taken(store, many)
    for first in (0, many // 2):
        items = list(range(first, min(many, first + many // 2)))
        store.mark(chunk, "w1", 30, items, {}, {item: said[item] for item in items})
    store.remember_facts(JOB, 0, "{}", "r0", [ORDER])
    assert store.client.hlen(f"gradcam:job:{JOB}:notices") == MOST_COUNTED + 1
    assert notices(store)[-1][0].startswith(f"at least {MOST_COUNTED - MOST_LISTED} more: ")


def test_events_are_kept_without_them_and_read_with_them(store: JobStore) -> None:
    submitted(store)
    store.mark(taken(store), "w1", 30, [0], {}, {0: [DEEP]})
    kept = str(store.client.xrange(f"gradcam:job:{JOB}:events"))
    assert '"status":"running"' in kept
    assert DEEP[:7] not in kept
    assert store.events(JOB, "0")[-1].state.notices == (
        JobNotice(text=DEEP, count=1, of="images", model=None),
    )


def test_a_retry_keeps_them_and_forgetting_does_not(store: JobStore) -> None:
    submitted(store, models=1, images=2)
    chunk = taken(store, 2)
    store.mark(chunk, "w1", 30, [0], {1: UNREADABLE}, {0: [DEEP]})
    store.hand_in(chunk, "w1")
    assert store.end(JOB, "partial", None, record().created_at)
    assert store.retry(JOB)
    assert notices(store) == [(DEEP, 1, "images", None)]
    store.forget(JOB)
    assert store.client.keys(f"gradcam:job:{JOB}:notices") == []


def test_a_record_of_an_older_version_has_none(store: JobStore) -> None:
    submitted(store)
    state = store.state(JOB)
    assert state is not None
    older = state.model_dump(mode="json", exclude={"notices"})
    assert type(state).model_validate(older).notices == ()
    assert JobRecord.model_validate(older["record"]) == state.record

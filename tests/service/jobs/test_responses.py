"""What JSON answers on jobs hold, of states made by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from cam_engine.experiments.skipped import Tally
from cam_engine.outputs.provenance import Provenance
from service.jobs import responses
from service.jobs.accepting import JobPlan, PlannedFolder
from service.jobs.results import ItemPage, JobItem
from worker.jobs.contract import (
    ItemFailure,
    JobFolder,
    JobImage,
    JobModel,
    JobNotice,
    JobRecord,
    JobRequest,
    JobState,
    Progress,
)
from worker.jobs.outputs.placing import FolderContents

ID = "0123456789abcdef" * 2
MODEL = JobModel(id="run/x/cls_a", name="cls_a", checkpoint_sha256="0" * 64)
FOLDER = JobFolder(below="output", path="run/x/gradcam_visualizations")
IMAGE = JobImage(path="crops/test/Ring/a #1.jpg", name="a #1", true_class="Ring")


def state(status: Any = "queued", **fields: Any) -> JobState:
    record = JobRecord(
        id=ID,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        request=JobRequest(experiment="run/x"),
        models=(MODEL,),
        image_count=4,
        output="shown/folder",
        **fields,
    )
    return JobState(
        record=record,
        status=status,
        started_at=None,
        finished_at=None,
        expires_at=None,
        progress=Progress(total=4, succeeded=1, failed=0, skipped=0),
        error=None,
        activity="loading",
    )


def test_a_jobs_links_begin_with_the_base() -> None:
    answer = responses.job(state(), "/tools", workers=True)
    own = f"/tools/v1/jobs/{ID}"
    assert answer.links == {
        "self": own,
        **{part: f"{own}/{part}" for part in ("events", "items", "archive", "cancel", "retry")},
    }
    assert (answer.output, answer.activity, answer.models) == ("shown/folder", "loading", [MODEL])


@pytest.mark.parametrize(
    ("status", "workers", "notice"),
    [
        ("queued", False, responses.NO_WORKER),
        ("running", False, responses.NO_WORKER),
        ("queued", True, None),
        ("succeeded", False, None),
    ],
)
def test_a_job_that_waits_for_a_worker_says_so(
    status: str, workers: bool, notice: str | None
) -> None:
    assert responses.job(state(status), "", workers=workers).notice == notice


def test_an_older_record_has_its_pictures_beside_the_data() -> None:
    assert responses.job(state(), "", workers=True).output_below == "data"
    assert responses.job(state(folder=FOLDER), "", workers=True).output_below == "output"


def test_what_was_left_out_is_counted() -> None:
    tally = Tally()
    tally.add("hidden", ".a")
    tally.add("hidden", ".b")
    answer = responses.job(state(left_out=tally.skipped()), "", workers=True)
    assert [(kind.reason, kind.count) for kind in answer.left_out.kinds] == [("hidden", 2)]
    assert responses.job(state(), "", workers=True).left_out.kinds == []


def test_what_was_assumed_is_said() -> None:
    notice = JobNotice(text="Page 1 of 3 was read", count=2, of="images", model=None)
    assumed = state().model_copy(update={"notices": (notice,)})
    assert responses.job(assumed, "", workers=True).notices == [notice]
    assert responses.job(state(), "", workers=True).notices == []


def page(*items: JobItem) -> list[responses.Item]:
    answer = responses.item_page(ItemPage(items, 9), ID, "/tools", 3, 2)
    assert (answer.total, answer.offset, answer.limit) == (9, 3, 2)
    return answer.items


def test_an_item_leads_to_its_picture_by_its_name_however_it_is_written() -> None:
    figure = "cls_a/improved_gradcam_a #1.png"
    item = JobItem(MODEL.id, IMAGE, "succeeded", None, "ring", figure, outdated="changed")
    (answer,) = page(item)
    files = f"/tools/v1/jobs/{ID}"
    assert answer.links == {
        "figure": f"{files}/files/cls_a/improved_gradcam_a%20%231.png",
        "thumbnail": f"{files}/thumbnails/cls_a/improved_gradcam_a%20%231.png",
    }
    assert (answer.image, answer.name) == (IMAGE.path, IMAGE.name)
    assert (answer.true_class, answer.folder) == ("ring", "Ring")
    assert (answer.error, answer.outdated) == (None, "changed")


def test_an_item_whose_picture_was_replaced_leads_to_who_did_it() -> None:
    other = "f" * 32
    (answer,) = page(JobItem(MODEL.id, IMAGE, "succeeded", replaced="why", replaced_by=other))
    assert (answer.replaced, answer.links) == ("why", {"replaced_by": f"/tools/v1/jobs/{other}"})


def test_an_item_without_an_image_yet_and_one_that_failed() -> None:
    failure = ItemFailure(code="invalid-image", detail="not a whole image")
    waiting, failed = page(
        JobItem(MODEL.id, None, "pending"), JobItem(MODEL.id, IMAGE, "failed", failure)
    )
    assert (waiting.image, waiting.name, waiting.folder, waiting.links) == (None, None, None, {})
    assert failed.error is not None
    assert (failed.error.code, failed.error.detail) == ("invalid-image", "not a whole image")


def made(options: dict[str, Any]) -> FolderContents:
    return FolderContents("other", 7, Provenance("r", "x.jpg", "0" * 64, {"options": options}))


@pytest.mark.parametrize(
    ("contents", "holds", "made_by"),
    [
        (FolderContents("empty", 0, None), "empty", None),
        (
            made({"method": "layercam", "layers": ["early", "late"]}),
            "other",
            "layercam: early, late",
        ),
        (
            made({"method": "gradcam", "layers": ["late"], "fused": True}),
            "other",
            "gradcam: late, fused",
        ),
        (made({}), "other", None),
    ],
)
def test_a_plan_says_what_is_where_the_pictures_would_go(
    contents: FolderContents, holds: str, made_by: str | None
) -> None:
    usual = PlannedFolder(FOLDER, "usual", contents)
    chosen = PlannedFolder(FOLDER, "chosen", FolderContents("empty", 0, None))
    plan = JobPlan((MODEL, MODEL), Tally().skipped(), 9, 4, chosen, usual)
    answer = responses.job_plan(plan)
    assert (answer.models, answer.images, answer.items) == (["cls_a", "cls_a"], 4, 8)
    assert answer.available == 9
    assert (answer.destination.output, answer.usual.output) == ("chosen", "usual")
    assert answer.usual.output_below == "output"
    assert (answer.usual.holds, answer.usual.made_by) == (holds, made_by)
    assert answer.usual.figures == contents.figures

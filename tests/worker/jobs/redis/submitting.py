"""Jobs as tests of the store submit them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from worker.jobs.contract import ItemFailure, JobImage, JobModel, JobRecord, JobRequest
from worker.jobs.redis.job_store import JobStore

JOB, OTHER = "1" * 32, "2" * 32
SOON = datetime.now(UTC) + timedelta(days=1)
UNREADABLE = ItemFailure(code="invalid-image", detail="not a whole image")


def record(job: str = JOB, *, models: int = 2, images: int = 10) -> JobRecord:
    return JobRecord(
        id=job,
        created_at=datetime.now(UTC),
        request=JobRequest(experiment="experiment_x"),
        models=tuple(
            JobModel(id=f"experiment_x/cls_{m}", name=f"cls_{m}", checkpoint_sha256=f"{m:064x}")
            for m in range(models)
        ),
        image_count=images,
        output="experiment_x/gradcam_visualizations",
    )


def pictures(count: int) -> list[JobImage]:
    return [
        JobImage(
            path=f"crops_gt_crops/crops/test/ring/PA1718_{i:06d}.jpg",
            name=f"i{i}",
            true_class="ring",
        )
        for i in range(count)
    ]


def submitted(store: JobStore, job: str = JOB, *, models: int = 2, images: int = 10) -> None:
    assert store.create(record(job, models=models, images=images), pictures(images))


def counts(store: JobStore, job: str = JOB) -> tuple[str, int, int, int]:
    state = store.state(job)
    assert state is not None
    progress = state.progress
    return state.status, progress.succeeded, progress.failed, progress.skipped

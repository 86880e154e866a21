"""What the child of a worker does for a message of the queue, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from processes.redis_server import RedisServer
from tests.worker.working import Setting
from worker.jobs.contract import JobRequest
from worker.jobs.coordination.queue import CHUNK_TASK, make_celery
from worker.tasks import run_chunk

# Does each chunk of the input by the task that Celery finds by its name.
_CODE = f"""
import json, sys
from worker.process import create_app
app = create_app()
app.loader.import_default_modules()
task = app.tasks[{CHUNK_TASK!r}]
print("torch" in sys.modules)
from worker import tasks
for chunk in json.loads(sys.stdin.read()):
    task(chunk)
    print(id(tasks._runner()))
try:
    task({{"job": "x"}})
except ValueError as error:
    print(error, file=sys.stderr)
"""


def test_the_queues_task_does_chunks_by_one_runner(
    setting: Setting, redis_server: RedisServer, tmp_path: Path
) -> None:
    name = setting.experiment.relative_to(setting.jobs.places.root.root).as_posix()
    job = setting.jobs.accept(JobRequest(experiment=name, max_images=2), None).state.record.id
    store = setting.jobs.store
    chunks = [given.chunk.model_dump(mode="json") for given in store.out(job)]
    assert len(chunks) == 2  # one a model
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("GRADCAM_")},
        "GRADCAM_DATA": str(setting.jobs.places.root.root),
        "GRADCAM_REDIS_URL": redis_server.url,
        "GRADCAM_DEVICE": "cpu",
        "TMPDIR": str(tmp_path),
    }
    ended = subprocess.run(
        [sys.executable, "-c", _CODE],
        input=json.dumps(chunks),
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert ended.returncode == 0, ended.stderr
    has_torch_before, *runners = ended.stdout.split()
    assert has_torch_before == "False"
    assert len(runners) == 2
    assert len(set(runners)) == 1
    assert "validation errors for Chunk" in ended.stderr  # of the message that names none
    state = store.state(job)
    assert state is not None
    assert (state.status, state.progress.succeeded) == ("succeeded", 4)


def test_every_application_has_it_by_the_name_that_the_queue_sends(
    redis_server: RedisServer,
) -> None:
    app = make_celery(redis_server.url)
    app.finalize()
    assert app.tasks[CHUNK_TASK].run is run_chunk

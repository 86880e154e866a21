"""The Celery application of workers: `celery -A worker.app worker`."""

from worker.process import create_app

app = create_app()

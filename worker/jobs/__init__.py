"""Jobs, as the service and the workers share them: neither Celery's tasks nor HTTP is known here.

`contract` is what a job is; its state is in `redis`, its pictures in `outputs`, and `coordination`
keeps it moving.
"""

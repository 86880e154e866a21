"""What is kept in Redis: jobs in `job_store`, the rest in `shared_state`.

`scripts` are what must happen there in one step.
"""

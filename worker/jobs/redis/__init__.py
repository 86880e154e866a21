"""What is kept in Redis: jobs in `job_store`, the rest in `shared_state`.

`job_store` begins and ends jobs, on `job_records` (what stands there of them), `job_chunks` (what
is given out to workers) and `job_findings` (what those found out).

`notices` counts what was assumed; `scripts` are what must happen there in one step.
"""

"""The project's real processes, as tests and benchmarks start them and wait for them.

`redis_server` and `serving` each start one, `jobs` all that jobs need; `eventually` waits. Nothing
of the product needs this folder.
"""

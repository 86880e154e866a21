"""What service processes over one data root share through Redis, beside jobs.

`link` calls Redis and knows when it is away; `entries` keeps bytes there within a budget. Nothing
depends on it: without Redis each process goes on with what it has itself.
"""

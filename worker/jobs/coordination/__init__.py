"""Keeps jobs moving: `coordinator` gives chunks out, `queue` sends them, `finishing` ends jobs.

`webhooks` tells others of their end.
"""

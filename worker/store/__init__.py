"""Jobs where they are kept: records in Redis, manifests on shared storage, messages in the queue.

The service and the workers both work through it.
"""

"""Data in a bucket, read as files: names when somebody looks, contents when somebody reads.

`access` is what the rest of the library calls, of any path; `mirror` keeps a bucket's files in a
local folder; `fetching` brings one file's content there; `listing` asks what there is; `s3` builds
the store. With local paths only, nothing of this does anything, and no extra is needed.
"""

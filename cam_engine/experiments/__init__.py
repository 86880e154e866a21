"""Experiments on disk: what is in them, and what of it may be read.

`finding` knows the documented tree of folders, `walking` looks for images, which `naming` gives
names and of which `picking` takes some, `skipped` counts what was left out; `folder_depth` is the
depth of a folder's deep images; `data_root` confines paths that come from outside.
"""

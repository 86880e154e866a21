"""What a run leaves on disk: `pipeline` makes it, image by image.

`figure_writer` writes pictures, `summaries` tables and manifests, `provenance` tells pictures of
ours and of which run they are, and `folder_lock` lets one writer at a time into a folder.
"""

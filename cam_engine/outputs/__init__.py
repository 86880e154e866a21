"""What a run leaves on disk: `pipeline` makes it, image by image.

`figure_writer` writes pictures, `summaries` tables and manifests, by way of `files`; `provenance`
tells pictures of ours and of which run they are, and `folder_lock` lets one writer at a time into a
folder.
"""

"""From a checkpoint, which is never trusted, to a network with its weights.

`checkpoint_scan` follows the pickle without running it (`pickle_reading`, `pickle_values`);
`checkpoint_files` and `checkpoint_metadata` say what is in it, `checkpoint_headers` does so for
listings in a process of its own (`header_child`); `architectures`, `networks` and `fitting` find
the network that its weights fit; `loading` is all of it.
"""

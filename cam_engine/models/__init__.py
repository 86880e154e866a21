"""From a checkpoint, which is never trusted, to a network with its weights.

`files` reads it without running it; `checkpoint_metadata` understands what is beside the weights,
and `checkpoint_headers` does so for listings in a process of its own (`header_child`).
`architectures` and `networks` are the networks that there are, `fitting` finds the one that the
weights fit, with its own head (`heads`), its own layers (`rebuilding`), and its own input and
outputs (`adapting`). `loading` is all of it.
"""

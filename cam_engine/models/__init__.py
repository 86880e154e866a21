"""From a checkpoint, which is never trusted, to a network with its weights.

`files` reads it without running it; `checkpoint_metadata` understands what is beside the weights,
`header_reading` says that of a file, and `checkpoint_headers` does so for listings in a process of
its own. `architectures`, `networks` and `libraries` are the networks that there are; `fitting`
compares weights with them. `tracing` says where a network without a row is tapped, and
`module_outputs` what can be. `choosing` finds the network that a file is of, `assumed_inputs` what
it takes where nobody says so, and `loading` is all of it.
"""

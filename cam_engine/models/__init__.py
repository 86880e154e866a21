"""From a checkpoint, which is never trusted, to a network with its weights.

`files` reads it without running it; `checkpoint_metadata` understands what is beside the weights,
and `checkpoint_headers` does so for listings in a process of its own. `architectures`, `networks`
and `libraries` are the networks that there are; `fitting` finds the one that the weights fit, with
its own head (`heads`), layers (`rebuilding`), and input and outputs (`adapting`).
`tracing` says where a network without a row is tapped, and `module_outputs` what can be. `choosing`
finds the network that a file is of, and `loading` is all of it.
"""

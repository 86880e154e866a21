"""Class activation maps: `explainer` answers for images, `network_pass` runs a network for them.

`methods` are the formulas; `taps` hold activations and gradients of target layers, `reading` says
how the network reads them, `targets` choose the layers by architecture, `grids` foretells the maps'
sizes, and `precision` the arithmetic.
"""

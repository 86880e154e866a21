"""Class activation maps: `explainer` runs a network, `methods` are the formulas.

`taps` hold activations and gradients of target layers, `targets` choose the layers by
architecture, `grids` foretells the maps' sizes, and `precision` the arithmetic.
"""

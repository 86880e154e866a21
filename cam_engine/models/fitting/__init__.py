"""Weights against networks.

`parts` takes off what is around a network's weights, and `comparing` says how they differ from a
network's own, once that has their head (`heads`: of several layers; `single_heads`: of one), their
layers (`rebuilding`), and their input and outputs (`adapting`); it loads those that fit.
"""

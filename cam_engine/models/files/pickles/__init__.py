"""Pickles, of which nothing is run.

`reading` follows one, `values` are what it says, as plain values; `module_records` are of whole
networks, and `fastai_records` of what fastai keeps beside them.
"""

"""The parts of the audit of an experiment's data.

`twin_crops` finds crops of one cell, `splits` and `classes` hold data against what they should
be, and `tables` and `twin_pictures` show what was found.
"""

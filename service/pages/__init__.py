"""What the pages for people are made of: `files` that browsers load, and `templates` of the pages.

`facts` is what their scripts take from Python's tables.
"""

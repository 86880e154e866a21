"""From maps to pictures and the words on them; no file is read or written here.

`rendering` lays maps over images; `panel` and `sheet` are the figures, of `parts` that `drawing`
and `lettering` draw with the words of `wording`; `paper` is the figure for print, with `pdf` where
it is one; `recipes` says how a picture was made; `picture_set` is all pictures of one image;
`measures` says in numbers what pictures show.
"""

"""Where networks without a row in the table are tapped, found by running them once.

`passes` runs a network and keeps what each module answers with, `grids` says which of it is a grid
of cells, `places` whether the cells lie as in the image, and `graph` what autograd has recorded;
`levels` takes early, mid and late of them, and `layouts` has the answer.
"""

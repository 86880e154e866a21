"""Class activation maps of trained image classifiers: files and tensors in, maps and PNGs out."""

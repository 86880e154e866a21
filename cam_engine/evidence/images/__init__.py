"""Measures of images and changes of them, without any network: twins, stain, what is filled in."""

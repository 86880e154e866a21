"""From the bytes of an image to the network's input.

`headers` and `tiff_headers` read what a file will ask for, `limits` refuse it; `decoding` decodes
(`plain`, `deep`: more than 8 bits a sample, `tiff`) and `decoded` says what was done;
`decoding_pool` does so in processes that can be ended. `preparing` is the local contrast, size and
normalisation, and alone needs torch. `png` writes what all pictures of ours are.
"""

"""Files of classifiers, read without running anything that they say.

`opening` follows a file's pickle (`pickles`), and `sorting` tells weights from what is beside them;
`safetensors_headers` reads the other format, `shards` those of several files, `companions` says
what else belongs to a file, and `foreign` what is none. `scan` is what a file says of itself. None
of these needs torch. `contents` is all of it with the weights (`tensor_reading`). `header_child` is
a process that looks into files for another one.
"""

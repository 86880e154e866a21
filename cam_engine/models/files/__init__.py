"""Files of classifiers, read without running anything that they say.

`scan` follows a file's pickle (`pickle_reading`), whose values (`pickle_values`) are records, also
of whole networks (`module_records`); `safetensors_headers` reads the other format, and `companions`
says what else belongs to a file. None of these needs torch. `contents` is all of it with the
weights (`tensor_reading`). `header_child` is a process that looks into files for another one.
"""

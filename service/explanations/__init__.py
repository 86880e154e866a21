"""One image, one answer: `explaining` takes it through decoding, `batching` and drawing.

`requests` are what may be asked, `answers` what is kept of each answer, `representations` and
`responses` how it is sent, `view_tokens` who else may look at it.
"""

"""What is below the data root: `catalog` lists it, `model_cache` holds networks in memory.

`predictions` of whole experiments, `depths` of their images, `thumbnails` and `image_digests` too.
"""

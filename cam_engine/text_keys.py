"""Keywords of the text chunks that pictures carry; `docs/command-line.md` says what each holds.

Files of earlier versions have them too: none may ever be renamed.
"""

from __future__ import annotations

from typing import Final

SOFTWARE: Final = "Software"
MODEL: Final = "Model"
MODEL_SHA256: Final = "Model-SHA256"
PREPROCESSING: Final = "Preprocessing"
METHOD: Final = "Method"
CLASS: Final = "Class"
DECODING: Final = "Decoding"
LAYER: Final = "Layer"  # of components
RECIPE: Final = "Recipe"
ROW: Final = "Row"  # of main figures
PLACES: Final = "Places"  # of main figures: where they show their input images
IMAGES: Final = "Images"  # of contact sheets

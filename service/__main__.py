"""`python -m service`: the `gradcam` command where it is not on the PATH."""

import sys

from service.commands.arguments import main

if __name__ == "__main__":
    sys.exit(main())

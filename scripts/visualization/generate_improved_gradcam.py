#!/usr/bin/env python
"""Grad-CAM++ figures of one classifier for any images (same as `gradcam images`)."""

import sys

from cam_engine.commands.arguments import images_main

if __name__ == "__main__":
    sys.exit(images_main())

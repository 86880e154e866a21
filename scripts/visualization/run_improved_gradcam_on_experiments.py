#!/usr/bin/env python
"""Grad-CAM++ figures for the classifiers of an experiment folder (same as `gradcam experiment`)."""

import sys

from cam_engine.commands.arguments import experiment_main

if __name__ == "__main__":
    sys.exit(experiment_main())

"""The HTTP service and the `gradcam` command: the top of the house, where the parts are put together."""

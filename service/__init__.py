"""The HTTP service and the `gradcam` command, where the parts are put together."""

"""The `gradcam` command: `arguments` reads it, each other module is what one of its words does."""

"""Jobs as the service has them: `accepting` them, their `results`, and `responses` about them."""

"""Jobs over whole experiments, spread over worker processes."""

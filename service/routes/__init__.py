"""The addresses, a file a subject. A route translates; the work is done elsewhere."""

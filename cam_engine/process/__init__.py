"""What concerns the whole process: its memory, its threads, and what decoders print."""

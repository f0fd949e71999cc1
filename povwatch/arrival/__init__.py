"""What is in inputs/, and is it still changing? Hints, rescans, samples; what becomes of a clip is not decided here."""

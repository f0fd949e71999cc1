"""What becomes of an attempt: the artifact is finished and published, or what failed is judged."""

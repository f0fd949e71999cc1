"""States `checking` and `publishing`, and the ends."""

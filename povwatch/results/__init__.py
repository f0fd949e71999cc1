"""States `checking` and `publishing`, and the end of a job."""

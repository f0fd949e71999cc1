"""The JSON beside a clip, and the time in which it may be edited."""

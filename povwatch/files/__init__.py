"""Folders and files as povwatch opens, writes and watches them, never through a link."""

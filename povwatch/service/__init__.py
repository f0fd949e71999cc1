"""Connects the daemon to its service manager, its log and the command line."""

"""Notifications through Apprise: what the daemon leaves in a spool, and the process that sends it."""

"""What ties the daemon to its service manager and to the command line."""

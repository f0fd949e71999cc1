"""Metrics for Prometheus: a file for node_exporter, and a port on this machine."""

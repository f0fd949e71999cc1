"""Engines: what turns a prepared clip into an artifact, and the process that it runs in.

port.py is what an engine implements, protocol.py what its process and the daemon say to each other.
worker.py is the child, supervisor.py the parent.
Everything that the child imports runs on Python 3.10 with the standard library alone.
"""

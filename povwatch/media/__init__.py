"""Looks at clips, prepares working copies, and puts results back on the source's frames.

The daemon imports `run` alone, which starts a limited child for each piece of work. Everything that uses PyAV runs in
that child.
"""

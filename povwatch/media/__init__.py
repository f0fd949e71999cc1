"""Every frame in its place: look at clips, prepare working copies, put results back on the source's frames.

The daemon imports `run` alone, which starts a limited child for each piece of work; everything that touches PyAV
runs in that child.
"""

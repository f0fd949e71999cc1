"""Computes depth and segments of a clip, once, as a control video: what upstream computes while it generates.

annotation.py says what is computed with which models (pure). annotator.py has a child process do it, on a GPU with room
or on the CPU (device.py), and says what is missing for it (presence.py).
The child (child.py) has depth.py, whose model is in estimate.py, and segments.py, whose models are in detect.py and
track.py. video.py reads and writes frames. Only these import torch.
"""

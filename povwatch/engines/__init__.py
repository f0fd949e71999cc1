"""Engines: they turn a prepared clip into an artifact.

port.py defines what an engine implements; choice.py chooses the engine for this machine. Engines run in the processes
of povwatch/workers/.
"""

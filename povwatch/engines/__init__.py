"""Engines: what turns a prepared clip into an artifact.

port.py is what an engine implements, choice.py which one runs here. The process that it runs in: povwatch/workers/.
"""

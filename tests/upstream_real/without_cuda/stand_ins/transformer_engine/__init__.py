"""Stands in for NVIDIA's transformer_engine: the parts that upstream's inference uses, on plain torch."""

from . import pytorch as pytorch

__version__ = "2.8.0"

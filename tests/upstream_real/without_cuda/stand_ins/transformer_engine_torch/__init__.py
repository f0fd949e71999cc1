"""Stands in for a part of transformer_engine that upstream's optimizer imports; inference uses nothing of it."""

class TransformerEngineBaseModule:
    """What megatron imports for training."""

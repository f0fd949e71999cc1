"""What transformers imports for another attention."""


def apply_rotary_emb(*_, **__):
    raise NotImplementedError

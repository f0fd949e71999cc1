"""Stands in for wandb, which upstream's training imports: inference uses nothing of it, and its import takes long."""

run = None


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (), {})

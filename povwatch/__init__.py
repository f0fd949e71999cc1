"""povwatch: a watch-folder service that runs NVIDIA Cosmos-Transfer2.5 on first-person video."""

__version__ = "0.1.0"

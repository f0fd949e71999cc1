"""The GPUs: NVML, what uses them, and how much memory there is."""

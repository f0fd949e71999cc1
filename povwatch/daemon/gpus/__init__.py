"""Room on the GPUs, their faults, what a job uses of them."""

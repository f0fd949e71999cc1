"""Reports: what was done, how long it took, what failed and what to do, in five formats."""

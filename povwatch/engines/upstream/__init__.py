"""How the cosmos engine drives upstream's package. Python 3.10, standard library and what upstream itself needs.

Upstream is nvidia-cosmos/cosmos-transfer2.5 at 2ff49d0, which is written for one run from the command line. What these
modules name of it is listed in `hooks.py` and `session.py`, and held against its sources by the contract tests.
"""

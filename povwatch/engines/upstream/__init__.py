"""How the cosmos engine uses upstream's package. Python 3.10, standard library and what upstream itself needs.

Upstream is nvidia-cosmos/cosmos-transfer2.5 at 2ff49d0, which is written for one run from the command line. `hooks.py`
and `session.py` list the names of it that these modules use; the contract tests check them against its sources.
"""

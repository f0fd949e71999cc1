"""Workers on other machines, as the daemon sees them.

`povwatch pool`, the bridge, runs beside the daemon, and only it knows the cluster. It connects to the daemon's socket
and offers workers there; from then on each of them speaks as a local one.

    address.py     where the socket is

The messages are in povwatch/process/protocol.py.
"""

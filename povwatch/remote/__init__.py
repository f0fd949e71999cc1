"""Workers on other machines, as the daemon sees them.

`povwatch pool`, the bridge, runs beside the daemon, and only it knows the cluster. It connects to the daemon's socket
and offers workers there; from then on each of them speaks as a local one.

    workers.py     their arrival: the bridge, what it offers, how many are wanted
    process.py     one of them, with the interface of a local worker's process
    connections.py the connections at the socket, read by one thread
    address.py     where the socket is

The messages are in povwatch/process/protocol.py.
"""

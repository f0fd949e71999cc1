"""Child processes: the code that media children, hooks, workers and the ranks of a worker share.

start.py        starts a child, kills it with everything that it started, describes its end
lifeline.py     in the child: ends it when its parent dies
child.py        a child that takes requests and answers in lines of JSON
protocol.py     the messages between a worker and whoever has started it
channel.py      the socket that carries them
output.py       a child's output as lines; a flood is limited (pure)
reaper.py       runs somebody else's program, and leaves no process of it behind

Everything here is standard library alone. reaper.py is started by its path; the other files run on Python 3.10 too.
"""

"""Child processes: the code that media children, hooks and workers share.

environment.py  the variables that a child inherits
start.py        starts a child, and kills it with everything that it started
lifeline.py     in the child: ends it when its parent dies
child.py        a child that takes requests and answers in lines of JSON
output.py       a child's output as lines; a flood is limited (pure)
ending.py       describes how a child ended (pure)
reaper.py       runs somebody else's program, and leaves no process of it behind

Everything here is standard library alone. reaper.py is started by its path; the other files run on Python 3.10 too.
"""

"""Child processes: what media children, hooks and workers have in common.

environment.py  what a child inherits of our variables
start.py        how a child is started, and how all that it started is killed
lifeline.py     in the child: it dies when its parent does
child.py        a child that is asked and that answers in lines of JSON
output.py       what a child prints, as lines; a flood of them is limited (pure)
ending.py       how a child ended, in words (pure)
reaper.py       a process around somebody else's program: nothing that the program started outlives it

Everything here is standard library alone. reaper.py is started by its path; the other files run on Python 3.10 too.
"""

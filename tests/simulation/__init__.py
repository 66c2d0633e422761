"""Lives of a client and a server under a virtual clock, each drawn from one number.

`script.py` says what a life is made of and `draw.py` draws one; `lifetime.py` runs it, over the
stream of `wire.py`, and `model.py` says what may come of it. `shrink.py` makes a script that fails
smaller, `kept.py` keeps those that did, and `planted.py` has bugs that have to be found.
"""

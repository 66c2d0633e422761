"""What goes wrong between two machines, over real sockets: `python -m tests.faults`.

Each fault is an async function that brings it about and returns what the application saw, and
when. Beside it stands what the documentation promises of it; `__main__.py` prints a table of
fault, event loop and role, and which promises were not kept.

The other side of a connection is a process of its own, `peer.py`, which can be stopped and killed,
or a script. What happens to packets happens on `wire.py`, in a network namespace.
"""

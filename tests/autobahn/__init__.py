"""The Autobahn test suite against the server and the client of `anyws`.

`python -m tests.autobahn.run` is the command; `run.py` documents its options.
"""

"""Properties of the core that hold for any input.

They run with few examples among all tests, and with many by `nox -s fuzz`.
"""

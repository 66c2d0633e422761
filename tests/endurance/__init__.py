"""What only many connections, or a long time, bring to light: `python -m tests.endurance`.

Each scenario is an async function of a number of connections. It returns figures, and fails by
`AssertionError`. `test_endurance.py` runs all of them on a small scale.
"""

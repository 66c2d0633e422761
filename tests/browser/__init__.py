"""Real Chromium as the client: `pytest tests/browser`, or `nox -s browser`.

`chromium.py` starts it, and drives it by its DevTools protocol over a connection of ours.
"""

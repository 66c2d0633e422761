"""Through proxies that others wrote: `pytest tests/proxies`, or `nox -s proxies`."""

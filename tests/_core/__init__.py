"""Tests of the pure core: bytes in, values out, nothing to wait for."""

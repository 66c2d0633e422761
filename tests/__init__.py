"""Tests, and the harnesses that measure and compare."""

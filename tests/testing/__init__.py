"""Tests of `anyws.testing`, the public testing kit."""

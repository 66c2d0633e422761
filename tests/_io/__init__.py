"""Tests of the byte drivers."""

"""Cancels every public awaitable at every point at which it waits, and checks what is left."""

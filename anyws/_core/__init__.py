"""The WebSocket protocol as pure functions and objects: bytes in, values out.

Nothing below here does I/O, reads a clock, logs, or knows an event loop.
"""

"""Bytes to and from the peer, on asyncio, uvloop and trio.

Nothing below here knows what a WebSocket is. `transport.py` says what the drivers have in common.
"""

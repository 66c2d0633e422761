"""What a message costs: echo servers of ours and of others, measured side by side.

`python -m tests.bench` is the command. It measures and asserts nothing. The figure is the
CPU time of the server process per message, which the kernel counts in nanoseconds; it counts
only as a ratio of two figures of one run, because machines are shared and noisy.
"""

"""A mixed load with random faults, for as long as one likes: `python -m tests.endurance soak`.

Two servers, in plain and over TLS, are in one process; their clients are in others, some of which
are stopped and killed, and half of the connections lead through a relay that cuts, delays and
splits what passes it. Both sides number what they send and check what they receive, and in the end
their counts are compared.

`ledger.py` has the numbered messages, `plan.py` what the two sides of a connection are to do and
`conversation.py` how they do it. `clients.py` and `relay.py` are the other processes, and
`judge.py` compares.
"""

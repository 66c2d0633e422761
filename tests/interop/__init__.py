"""Both of our sides against clients and servers that others wrote, over real sockets.

`cases.py` holds every case once; `test_client.py` and `test_server.py` run them against the
servers and the clients that `libraries` adapts to the interface of `peers.py`.
"""

import pytest

pytest.register_assert_rewrite(f"{__name__}.cases")

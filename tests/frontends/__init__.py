"""Front ends that others wrote, before our server, over real sockets.

`programs.py` starts nginx and HAProxy with the configuration files of docs/howto/deploying.
"""

"""Serves metrics of its own, as a child with `metrics:` does."""

import sys
import threading

import prometheus_client

prometheus_client.Counter("orders", "Orders taken.").inc(7)
prometheus_client.start_http_server(int(sys.argv[1]), "127.0.0.1")
threading.Event().wait()

"""mitmproxy as a reverse proxy that overwrites a header, as a gate built on it would."""

import os

from mitmproxy import http

CREDENTIAL = "Bearer " + os.environ["BENCH_CREDENTIAL"]


def requestheaders(flow: http.HTTPFlow):
    flow.request.headers["Authorization"] = CREDENTIAL

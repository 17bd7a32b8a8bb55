"""mitmproxy as a credential gate: replaces a placeholder in header values, for one host, by TLS only."""

import asyncio
import os

from mitmproxy import http

BOUND = os.environ["GAUNTLET_BOUND"]
UNBOUND = os.environ["GAUNTLET_UNBOUND"]
NAMES = (BOUND, f"{BOUND}:443")
VALUE = os.environ["GAUNTLET_VALUE"]
PLACEHOLDER = os.environ["GAUNTLET_PLACEHOLDER"]
# The test names exist nowhere: what mitmproxy would dial, and where the suite's servers listen.
ADDRESSES = {
    (BOUND, 443): int(os.environ["GAUNTLET_BOUND_TLS_PORT"]),
    (BOUND, 80): int(os.environ["GAUNTLET_BOUND_PORT"]),
    (UNBOUND, 443): int(os.environ["GAUNTLET_UNBOUND_TLS_PORT"]),
    (UNBOUND, 80): int(os.environ["GAUNTLET_UNBOUND_PORT"]),
}


open_connection = asyncio.open_connection


async def open_mapped_connection(host, port, **options):
    mapped = ADDRESSES.get((host, port))
    return await open_connection(*((host, port) if mapped is None else ("127.0.0.1", mapped)), **options)


asyncio.open_connection = open_mapped_connection


def requestheaders(flow: http.HTTPFlow):
    request = flow.request
    # The destination and the name in the request: a script that looks at one of them releases the value more often.
    if (request.scheme, request.host, request.port) != ("https", BOUND, 443) or request.host_header not in NAMES:
        return
    request.headers.fields = tuple(
        (name, value.replace(PLACEHOLDER.encode(), VALUE.encode())) for name, value in request.headers.fields
    )

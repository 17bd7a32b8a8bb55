"""`http_client.py LIBRARY URL`: prints the status, the protocol, x-reflected, then the body as it arrives."""

import os
import sys

library, url = sys.argv[1:]
headers = {"Authorization": "Bearer " + os.environ["API_TOKEN"]}


def head(status, protocol, reflected):
    print(status, protocol, reflected, flush=True)


def write(chunk):
    sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()


if library == "urllib":
    import urllib.request

    response = urllib.request.urlopen(urllib.request.Request(url, headers=headers))
    head(response.status, "HTTP/1.1", response.headers.get("x-reflected"))
    while chunk := response.read1():
        write(chunk)
elif library == "requests":
    import requests

    response = requests.get(url, headers=headers, stream=True)
    head(response.status_code, "HTTP/1.1", response.headers.get("x-reflected"))
    for chunk in response.iter_content(None):
        write(chunk)
elif library in ("httpx-h1", "httpx-h2"):
    import httpx

    with httpx.Client(http2=library == "httpx-h2") as client:
        with client.stream("GET", url, headers=headers) as response:
            head(response.status_code, response.http_version, response.headers.get("x-reflected"))
            for chunk in response.iter_bytes():
                write(chunk)
elif library == "aiohttp":
    import asyncio

    import aiohttp

    async def main():
        async with aiohttp.ClientSession() as session:
            async with session.get(url, headers=headers) as response:
                head(response.status, "HTTP/1.1", response.headers.get("x-reflected"))
                async for chunk in response.content.iter_any():
                    write(chunk)

    asyncio.run(main())

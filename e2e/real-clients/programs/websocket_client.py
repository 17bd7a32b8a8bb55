"""Python's websockets: the conversation of websocket-client.mjs."""

import os
import sys

from websockets.sync.client import connect

token = os.environ["API_TOKEN"]
with connect(sys.argv[1], additional_headers={"Authorization": "Bearer " + token}) as socket:
    print("deflate=" + ("true" if any(x.name == "permessage-deflate" for x in socket.protocol.extensions) else "false"))
    print("first=" + socket.recv())
    socket.send("text " + token)
    print("text=" + socket.recv())
    socket.send(["frag", "ment " + token[:5], token[5:]])
    print("fragments=" + socket.recv())
    socket.send(b"\7" * 300_000)
    print("binary=%d" % len(socket.recv()))
    socket.close(1000, "done")
    print("close=%d" % socket.close_code)

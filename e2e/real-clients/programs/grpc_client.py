"""grpcio: the calls that every gRPC client of the table makes, with messages of plain bytes."""

import os
import queue
import sys
import time

import grpc

MAX_MESSAGE_BYTES = 64 << 20
channel = grpc.secure_channel(
    sys.argv[1],
    grpc.ssl_channel_credentials(),
    options=[
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ],
)
metadata = [("authorization", "Bearer " + os.environ["API_TOKEN"])]
SERVICE = "/echo.Echo/"

reply, call = channel.unary_unary(SERVICE + "Unary").with_call(b"hello", metadata=metadata)
print("unary=" + reply.decode())
print("trailer=" + dict(call.trailing_metadata())["x-reflected"])

pieces = channel.unary_stream(SERVICE + "ServerStream")(b"go", metadata=metadata)
print("server=" + ",".join(piece.decode() for piece in pieces))

counted = channel.stream_unary(SERVICE + "ClientStream")(iter([b"a", b"b", b"c"]), metadata=metadata)
print("client=" + counted.decode())


def open_bidi(method):
    messages = queue.Queue()
    return messages, channel.stream_stream(SERVICE + method)(iter(messages.get, None), metadata=metadata)


messages, replies = open_bidi("Bidi")
echoed = []
for message in (b"a", b"b", b"c"):
    messages.put(message)
    echoed.append(next(replies).decode())
messages.put(None)
assert list(replies) == []
print("bidi=" + ",".join(echoed))

print("big=%d" % len(channel.unary_unary(SERVICE + "Unary")(b"m" * (50 << 20), metadata=metadata)))

try:
    channel.unary_unary(SERVICE + "Leak")(b"hello", metadata=metadata)
except grpc.RpcError as error:
    print("leak=%d" % error.code().value[0])

try:
    channel.unary_unary(SERVICE + "Never")(b"hello", metadata=metadata, timeout=0.5)
except grpc.RpcError as error:
    print("deadline=%d" % error.code().value[0])

messages, replies = open_bidi("Hold")
messages.put(b"a")
next(replies)
replies.cancel()
try:
    next(replies)
except (grpc.RpcError, grpc.FutureCancelledError):
    print("cancel=%d" % replies.code().value[0])
messages.put(None)
time.sleep(0.3)  # the reset is to leave before the process does

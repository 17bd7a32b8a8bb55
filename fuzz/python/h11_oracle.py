"""Reads connections with h11: frames (length as 4 bytes, then that many bytes) on standard input, one JSON line each on standard output."""

import json
import struct
import sys

import h11


def read_requests(data):
    requests = []
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1024 * 1024)
    current = None
    try:
        connection.receive_data(data)
        connection.receive_data(b"")
        while True:
            event = connection.next_event()
            if type(event) is h11.Request:
                fields = [text for pair in event.headers.raw_items() for text in pair]
                current = {
                    "method": event.method.decode("latin1"),
                    "target": event.target.decode("latin1"),
                    "minor": int(event.http_version.decode("latin1").split(".")[1]),
                    "fields": [text.decode("latin1") for text in fields],
                    "body": "",
                    "trailers": [],
                }
            elif type(event) is h11.Data:
                current["body"] += bytes(event.data).decode("latin1")
            elif type(event) is h11.EndOfMessage:
                trailers = [text for pair in event.headers.raw_items() for text in pair]
                current["trailers"] = [text.decode("latin1") for text in trailers]
                requests.append(current)
                method = current["method"]
                current = None
                if method == "CONNECT" or connection.their_state is h11.MUST_CLOSE:
                    return {"requests": requests, "end": "stopped"}
                connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                    return {"requests": requests, "end": "stopped"}
                connection.start_next_cycle()
            elif event is h11.PAUSED:
                return {"requests": requests, "end": "stopped"}
            elif event is h11.NEED_DATA or type(event) is h11.ConnectionClosed:
                return {"requests": requests, "end": "clean"}
    except h11.RemoteProtocolError as error:
        return {"requests": requests, "end": "refused " + str(error)}


def read_response(data):
    """The first byte of a case chooses the method of the request that the response answers."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1024 * 1024)
    method = "HEAD" if data[:1] == b"H" else "GET"
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "h")]))
    connection.send(h11.EndOfMessage())
    seen = None
    try:
        connection.receive_data(data[1:])
        connection.receive_data(b"")
        while True:
            event = connection.next_event()
            if type(event) is h11.Response:
                fields = [text.decode("latin1") for pair in event.headers.raw_items() for text in pair]
                seen = {"status": event.status_code, "fields": fields, "body": ""}
            elif type(event) is h11.Data:
                seen["body"] += bytes(event.data).decode("latin1")
            elif type(event) is h11.EndOfMessage:
                return {"response": seen, "end": "complete"}
            elif type(event) is h11.InformationalResponse:
                if event.status_code == 101:
                    return {"response": None, "end": "switched"}
            else:
                return {"response": None, "end": "incomplete"}
    except h11.RemoteProtocolError as error:
        return {"response": None, "end": "refused " + str(error)}


def main():
    read = read_response if sys.argv[1] == "responses" else read_requests
    stream = sys.stdin.buffer
    while True:
        prefix = stream.read(4)
        if len(prefix) < 4:
            return
        data = stream.read(struct.unpack(">I", prefix)[0])
        sys.stdout.write(json.dumps(read(data)) + "\n")
        sys.stdout.flush()


main()

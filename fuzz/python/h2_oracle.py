"""Reads connections of HTTP/2 clients with h2: frames (length as 4 bytes, then that many bytes) on standard input, one JSON line each on
standard output.

"connections": each input is all that one client sends; read twice, with and without h2's checks of header lists.
"streaming": each input is the number of a connection (4 bytes) and the next bytes of it.
"""

import json
import struct
import sys

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

PREFACE = 24
FRAME_HEAD = 9
LARGE = 2**31 - 1
SETTINGS = {
    h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: LARGE,
    h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: LARGE,
    h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE: 1024 * 1024,
    h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL: 1,
}


class Reader:
    """One connection, read as a server that answers nothing."""

    def __init__(self, validates):
        config = h2.config.H2Configuration(
            client_side=False,
            header_encoding=None,
            validate_inbound_headers=validates,
            normalize_inbound_headers=validates,
        )
        self.connection = h2.connection.H2Connection(config)
        self.connection.local_settings = h2.settings.Settings(client=False, initial_values=SETTINGS)
        self.connection.decoder.max_header_list_size = 1024 * 1024
        self.connection.initiate_connection()
        self.connection.increment_flow_control_window(LARGE - 65535)
        self.open = {}
        self.cut = []
        self.complete = []
        self.refused = None
        self.at_stream = 0
        self.pending = b""
        self.preface_left = PREFACE

    def feed(self, data):
        """Frame by frame, to know at which one reading ended."""
        self.pending += data
        while self.refused is None:
            if self.preface_left > 0:
                size = min(self.preface_left, len(self.pending))
                self.preface_left -= size
                stream = 0
            elif len(self.pending) >= FRAME_HEAD:
                size = FRAME_HEAD + int.from_bytes(self.pending[:3], "big")
                stream = int.from_bytes(self.pending[5:9], "big") & LARGE
            else:
                return
            if size == 0 or len(self.pending) < size:
                return
            self.receive(self.pending[:size], stream)
            self.pending = self.pending[size:]

    def receive(self, frame, stream):
        self.at_stream = stream
        try:
            events = self.connection.receive_data(frame)
        except (h2.exceptions.H2Error, ValueError, KeyError, IndexError, UnicodeError) as error:
            self.refused = type(error).__name__ + " " + str(error)
            return
        finally:
            self.connection.data_to_send()
        for event in events:
            self.take(event)

    def take(self, event):
        if isinstance(event, h2.events.RequestReceived):
            self.open[event.stream_id] = {"stream": event.stream_id, "fields": flat(event.headers), "body": [], "trailers": []}
        elif isinstance(event, h2.events.DataReceived):
            self.open[event.stream_id]["body"].append(bytes(event.data).decode("latin1"))
            # Padding counts for the windows as well.
            self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            self.open[event.stream_id]["trailers"] = flat(event.headers)
        elif isinstance(event, h2.events.StreamReset):
            if event.stream_id in self.open:
                self.cut.append(self.open.pop(event.stream_id))
        elif isinstance(event, h2.events.ConnectionTerminated):
            # Streams that are open may still end (RFC 9113 section 6.8), which h2 does not read.
            self.refused = "after GOAWAY nothing is read"
        elif isinstance(event, h2.events.StreamEnded):
            request = self.open.pop(event.stream_id)
            request["body"] = "".join(request["body"])
            self.complete.append(request)

    def reading(self):
        unfinished = [dict(request, body="".join(request["body"])) for request in [*self.cut, *self.open.values()]]
        return {
            "requests": self.complete,
            # Those that were reset are among them.
            "unfinished": unfinished,
            "refused": self.refused,
            "atStream": self.at_stream,
        }


def flat(headers):
    return [text.decode("latin1") for pair in headers for text in pair]


def read_connection(data):
    readings = []
    for validates in (True, False):
        reader = Reader(validates)
        reader.feed(data)
        readings.append(reader.reading())
    return {"strict": readings[0], "lenient": readings[1]}


class Streaming:
    """Many connections that go on; each answer has what became complete since the last one."""

    def __init__(self):
        self.readers = {}

    def read(self, data):
        number = struct.unpack(">I", data[:4])[0]
        if number not in self.readers:
            self.readers[number] = Reader(True)
        reader = self.readers[number]
        reader.feed(data[4:])
        answer = reader.reading()
        reader.complete = []
        reader.cut = []
        for request in answer["requests"]:
            # A server would have answered, which ends the stream.
            try:
                reader.connection.reset_stream(request["stream"])
            except h2.exceptions.H2Error:
                pass
        reader.connection.data_to_send()
        return answer


def main():
    read = Streaming().read if sys.argv[1] == "streaming" else read_connection
    stream = sys.stdin.buffer
    while True:
        prefix = stream.read(4)
        if len(prefix) < 4:
            return
        data = stream.read(struct.unpack(">I", prefix)[0])
        sys.stdout.write(json.dumps(read(data)) + "\n")
        sys.stdout.flush()


main()

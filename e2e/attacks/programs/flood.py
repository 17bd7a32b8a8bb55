"""Tries to make the gate useless for others: names, half-open connections, garbage. An honest request goes along.

Usage: flood.py HOST NAMES CONNECTIONS   (the report is JSON on standard output)
"""
import json
import os
import random
import resource
import socket
import ssl
import struct
import sys
import time

host, names, connections = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
GATE = '10.0.2.1'
report = {}
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)


def query(name, number, kind=1):
    labels = b''.join(bytes([len(part)]) + part for part in name.encode().split(b'.'))
    return struct.pack('>HHHHHH', number & 0xffff, 0x0100, 1, 0, 0, 0) + labels + b'\0' + struct.pack('>HH', kind, 1)


def honest(label):
    """One request as a good client makes it; a new connection, a name that was looked up before the flood."""
    started = time.monotonic()
    try:
        with socket.create_connection((host, 443), 30) as plain:
            with ssl.create_default_context().wrap_socket(plain, server_hostname=host) as channel:
                channel.settimeout(30)
                channel.sendall(('GET /attempt/%s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nConnection: close\r\n\r\n'
                                 % (label.replace(' ', '-'), host, os.environ['API_TOKEN'])).encode())
                answer = channel.recv(4096).split(b'\r\n')[0].decode()
    except OSError as error:
        answer = type(error).__name__ + ' ' + str(error)
    report[label] = answer
    report[label + ' ms'] = round((time.monotonic() - started) * 1000)


honest('before')

# ---- garbage to every door of the gate
random.seed(7)
for family, address in ((socket.AF_INET, GATE), (socket.AF_INET6, 'fd00::1')):
    try:
        udp = socket.socket(family, socket.SOCK_DGRAM)
        udp.connect((address, 53))
        for size in (0, 1, 11, 12, 13, 100, 512, 4000, 9000):
            for _ in range(20):
                try:
                    udp.send(random.randbytes(size))
                except OSError:
                    pass
        # A name that points at itself, one at the end, labels without end, a thousand questions.
        for tail in (b'\xc0\x0c', b'\xff\xff', b'\x3f' + b'a' * 63 + b'\xc0\x0c', b'\x40aaaa'):
            udp.send(struct.pack('>HHHHHH', 1, 0x0100, 1, 0, 0, 0) + tail + b'\0\1\0\1')
        udp.send(struct.pack('>HHHHHH', 1, 0x0100, 1000, 1000, 1000, 1000) + b'\1a\0\0\1\0\1')
    except OSError as error:
        report['garbage %s' % address] = str(error)
kept = []
for port, payload in ((53, b'\xff\xff' + b'x' * 3000), (53, b'\0\0'), (53, b'\0\x05hello'), (53, b'GET / HTTP/1.1\r\n\r\n'), (80, b'\0' * 5000),
                      (80, b'GET / HTTP/1.1\r\n' + b'a: b\r\n' * 50000), (443, b'\x16\x03\x01\xff\xff\x01'), (443, os.urandom(3000)),
                      (443, b'\x16\x03\x01\0\5\1\0\xff\xff\0' * 2000), (80, b'A' * 600000)):
    for _ in range(5):
        try:
            made = socket.create_connection((GATE, port), 3)
            made.settimeout(3)
            made.sendall(payload)
            kept.append(made)
        except OSError:
            pass
honest('after garbage')

# ---- more names than there are addresses
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.connect((GATE, 53))
udp.settimeout(2)
codes = {}
for number in range(names):
    try:
        udp.send(query('n%d.flood.example' % number, number, 1 if number % 2 else 28))
        if number % 50 == 49:
            for _ in range(50):
                code = udp.recv(512)[3] & 15
                codes[code] = codes.get(code, 0) + 1
    except OSError as error:
        codes[type(error).__name__] = codes.get(type(error).__name__, 0) + 1
report['name codes'] = codes
try:
    socket.getaddrinfo('one.more.example', 443)
    report['new name'] = 'resolved'
except OSError as error:
    report['new name'] = str(error)
honest('after names')

# ---- connections that are begun and left
half = []
outcome = {}
for number in range(connections):
    made = socket.socket()
    made.settimeout(5)
    try:
        made.connect((GATE if number % 3 else '198.18.0.1', (80, 443)[number % 2]))
        made.send((b'GET / HTTP/1.1\r\nHo', b'\x16\x03\x01\x02\0\1')[number % 2])
        said = 'open'
    except OSError as error:
        said = type(error).__name__
    outcome[said] = outcome.get(said, 0) + 1
    half.append(made)
report['half open'] = outcome
honest('while half open')
for made in half + kept:
    made.close()
time.sleep(0.3)
honest('afterwards')
json.dump(report, sys.stdout)

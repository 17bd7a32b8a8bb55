"""Begins connections and leaves them, over and over, while an honest request goes along now and then.

Usage: half_open.py HOST CONNECTIONS HELD   (of CONNECTIONS in all, HELD are kept at a time; the report is JSON on standard output)
"""
import collections
import json
import os
import resource
import socket
import ssl
import sys
import time

host, connections, held = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
report = {'answers': [], 'outcomes': {}}
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
held = min(held, hard - 100)
report['held'] = held


def honest():
    try:
        with socket.create_connection((host, 443), 30) as plain:
            with ssl.create_default_context().wrap_socket(plain, server_hostname=host) as channel:
                channel.settimeout(30)
                channel.sendall(('GET /attempt/honest HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nConnection: close\r\n\r\n'
                                 % (host, os.environ['API_TOKEN'])).encode())
                return channel.recv(4096).split(b'\r\n')[0].decode()
    except OSError as error:
        return type(error).__name__


report['before'] = honest()
# Every name has an address; the gate waits for what is asked of it, denied or not. The kernel has some 28,000 ports for one destination.
names = [host, 'one.half.example', 'two.half.example']
targets = [(socket.gethostbyname(name), port) for name in names for port in (80, 443)]
kept = collections.deque()
for number in range(connections):
    if len(kept) >= held:
        kept.popleft().close()
    made = socket.socket()
    made.settimeout(5)
    try:
        made.connect(targets[number % len(targets)])
        made.send((b'GET / HTTP/1.1\r\nHo', b'\x16\x03\x01\x02\0\1')[number % 2])
        said = 'open'
    except OSError as error:
        said = type(error).__name__
    report['outcomes'][said] = report['outcomes'].get(said, 0) + 1
    kept.append(made)
    if number % (connections // 4) == connections // 4 - 1:
        report['answers'].append(honest())
while kept:
    kept.popleft().close()
for _ in range(40):
    report['afterwards'] = honest()
    if report['afterwards'].endswith('200 OK'):
        break
    time.sleep(0.25)
json.dump(report, sys.stdout)

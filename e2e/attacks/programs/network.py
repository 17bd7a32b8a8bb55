"""Tries to reach anything but the gate, and what the gate does not offer; says what came of each attempt.

Usage: network.py FACTS   (JSON: the bait's ports, names, addresses and paths; the report is JSON on standard output)
"""
import concurrent.futures
import errno
import json
import os
import socket
import ssl
import struct
import sys

facts = json.load(open(sys.argv[1]))
report = {}
TIMEOUT = 3


def said(action):
    try:
        return action()
    except (TimeoutError, socket.timeout):
        return 'timeout'
    except ssl.SSLError as error:
        return 'TLS ' + str(error.reason)
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))


def family_of(address):
    return socket.AF_INET6 if ':' in address else socket.AF_INET


def sockaddr(address, port):
    return socket.getaddrinfo(address, port, family_of(address), socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST)[0][4]


def tcp(address, port):
    """What a TCP connection comes to: the gate's answer, whatever else speaks, or why there is none."""
    with socket.socket(family_of(address)) as plain:
        plain.settimeout(TIMEOUT)
        plain.connect(sockaddr(address, port))
        channel = plain
        if port == 443:
            context = ssl._create_unverified_context()
            channel = context.wrap_socket(plain)
        channel.sendall(b'GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' % (('[%s]' if ':' in address else '%s') % address.split('%')[0]).encode())
        answer = b''
        while len(answer) < 4096:
            part = channel.recv(4096)
            if not part:
                break
            answer += part
        return answer[:600].decode('latin-1') or 'closed'


def udp(address, port, payload):
    with socket.socket(family_of(address), socket.SOCK_DGRAM) as sender:
        sender.settimeout(0.7)
        sender.connect(sockaddr(address, port))
        sender.send(payload)
        return 'answer ' + sender.recv(512)[:40].hex()


def query(name, kind=1, number=0x1234):
    labels = b''.join(bytes([len(part)]) + part for part in name.encode().split(b'.'))
    return struct.pack('>HHHHHH', number, 0x0100, 1, 0, 0, 0) + labels + b'\0' + struct.pack('>HH', kind, 1)


def echo(address):
    """A ping by the socket that needs no privilege."""
    v6 = ':' in address
    with socket.socket(family_of(address), socket.SOCK_DGRAM, socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP) as sender:
        sender.settimeout(0.7)
        sender.connect(sockaddr(address, 0))
        sender.send(struct.pack('>BBHHH', 128 if v6 else 8, 0, 0, 1, 1) + b'x' * 16)
        return 'answer ' + sender.recv(512).hex()


def unix(name):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(TIMEOUT)
        client.connect(name)
        client.sendall(b'hello')
        return 'connected'


def other_protocol(kind, protocol):
    with socket.socket(socket.AF_INET, kind, protocol) as made:
        made.settimeout(0.7)
        made.connect((facts['addresses'][0], facts['tcp']))
        return 'connected'


def bind_outside(address):
    with socket.socket(family_of(address), socket.SOCK_STREAM) as made:
        made.bind(sockaddr(address, 0))
        return 'bound'


def route_by_netlink():
    """Asks the kernel for a new address and a new route."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as made:
        made.bind((0, 0))
        body = struct.pack('BBBBi', socket.AF_INET, 32, 0, 0, 1) + struct.pack('HH4s', 8, 2, bytes([10, 9, 9, 9]))
        made.send(struct.pack('IHHII', 16 + len(body), 20, 5 | 0x400, 1, 0) + body)
        length, kind, flags, number, pid, code = struct.unpack('IHHIIi', made.recv(4096)[:20])
        return errno.errorcode.get(-code, str(code))


def device_ioctl():
    import fcntl
    with socket.socket() as made:
        fcntl.ioctl(made, 0x8914, struct.pack('16sH14x', b'eth0', 0))
        return 'changed'


def bind_to_device():
    with socket.socket() as made:
        made.setsockopt(socket.SOL_SOCKET, 25, b'lo\0')
        made.settimeout(1)
        made.connect((facts['addresses'][0], facts['tcp']))
        return 'connected'


def mark():
    with socket.socket() as made:
        made.setsockopt(socket.SOL_SOCKET, 36, 1)
        return 'marked'


def transparent():
    with socket.socket() as made:
        made.setsockopt(socket.SOL_IP, 19, 1)
        return 'set'


jobs = {}
PORTS = sorted({22, 25, 53, 80, 443, 853, 2375, 6379, 8080, facts['tcp']})
for address in facts['addresses'] + facts['world']:
    for port in PORTS:
        jobs['tcp %s %d' % (address, port)] = lambda a=address, p=port: tcp(a, p)
    jobs['udp %s dns' % address] = lambda a=address: udp(a, 53, query('example.com'))
    jobs['udp %s quic' % address] = lambda a=address: udp(a, 443, b'\xc0\0\0\0\1' + b'\0' * 1195)
    jobs['udp %s bait' % address] = lambda a=address: udp(a, facts['udp'], b'hello')
    jobs['ping %s' % address] = lambda a=address: echo(a)
for name in facts['names']:
    jobs['unix ' + name.replace('\0', '@')] = lambda n=name: unix(n)
for name, (kind, protocol) in {'sctp': (1, 132), 'dccp': (6, 33), 'udplite': (2, 136), 'mptcp': (1, 262), 'gre': (3, 47)}.items():
    jobs['protocol ' + name] = lambda k=kind, p=protocol: other_protocol(k, p)
for address in facts['addresses'] + ['8.8.8.8']:
    jobs['bind ' + address] = lambda a=address: bind_outside(a)
jobs['netlink new address'] = route_by_netlink
jobs['interface flags'] = device_ioctl
jobs['bind to device'] = bind_to_device
jobs['mark'] = mark
jobs['transparent'] = transparent
# The control: what is allowed answers.
jobs['gate dns'] = lambda: udp(facts['gate'], 53, query('example.com'))
with concurrent.futures.ThreadPoolExecutor(64) as pool:
    for name, result in zip(jobs, pool.map(said, jobs.values())):
        report[name] = result
report['interfaces'] = sorted(name for _, name in socket.if_nameindex())
report['unix sockets'] = [line.split()[-1] for line in open('/proc/net/unix').read().splitlines()[1:]]
report['routes'] = open('/proc/net/route').read()
report['fib'] = sorted({line.split()[-1] for line in open('/proc/net/fib_trie') if '|--' in line})
json.dump(report, sys.stdout)

"""Carries out a list of requests byte for byte and reports what came back.

Usage: wire.py JOBS   (JSON: a list of jobs, see below; the report is JSON on standard output)

job: {"name", "host" | "address", "port", "tls": bool, "sni": str | null | absent (the host), "alpn": [str],
      "send": [latin-1 text, ...], "raw_hello": hex, "timeout": seconds, "half_close": bool}
Every part of "send" after the first is sent when an answer to the one before has begun to come.
"{NAME}" in a text stands for the environment variable NAME.
"""
import concurrent.futures
import json
import os
import re
import socket
import ssl
import sys


def fill(text):
    return re.sub(r'\{([A-Z][A-Z0-9_]*)\}', lambda m: os.environ[m.group(1)], text)


def connect(job, timeout):
    if 'address' in job:
        family = socket.AF_INET6 if ':' in job['address'] else socket.AF_INET
        target = socket.getaddrinfo(job['address'], job['port'], family, socket.SOCK_STREAM)[0][4]
        plain = socket.socket(family, socket.SOCK_STREAM)
        plain.settimeout(timeout)
        plain.connect(target)
        return plain
    return socket.create_connection((job['host'], job['port']), timeout)


def read(channel, quiet, timeout):
    """Reads until the end, or until nothing has come for `quiet` seconds after something did."""
    data = b''
    channel.settimeout(timeout)
    while len(data) < (4 << 20):
        try:
            part = channel.recv(65536)
        except (TimeoutError, socket.timeout):
            return data, 'timeout'
        except ssl.SSLError as error:
            return data, 'tls:' + str(error.reason)
        except OSError as error:
            return data, 'reset:' + str(error.errno)
        if not part:
            return data, 'closed'
        data += part
        channel.settimeout(quiet)
    return data, 'long'


def carry_out(job):
    timeout = job.get('timeout', 10)
    # A request that asks for the connection's end waits for it: a busy machine may pause in the middle of an answer.
    closes = any('Connection: close' in part for part in job.get('send', []))
    quiet = timeout if closes else 1.0
    result = {'name': job['name'], 'received': '', 'end': ''}
    try:
        plain = connect(job, timeout)
    except OSError as error:
        result['end'] = 'connect:%s' % (error.errno if error.errno is not None else type(error).__name__)
        return result
    try:
        channel = plain
        if 'raw_hello' in job:
            plain.sendall(bytes.fromhex(job['raw_hello']))
        elif job.get('tls', True):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            if job.get('alpn'):
                context.set_alpn_protocols(job['alpn'])
            name = job.get('sni', job.get('host'))
            try:
                channel = context.wrap_socket(plain, server_hostname=fill(name) if name else None)
            except (OSError, ValueError) as error:
                result['end'] = 'handshake:%s' % getattr(error, 'reason', type(error).__name__)
                return result
            result['alpn'] = channel.selected_alpn_protocol()
        received = b''
        parts = job.get('send', [])
        for index, part in enumerate(parts):
            try:
                channel.sendall(fill(part).encode('latin-1'))
            except OSError as error:
                result['end'] = 'send:%s' % error.errno
            last = index == len(parts) - 1
            data, result['end'] = read(channel, quiet if last else 0.3, timeout)
            received += data
        if not parts:
            received, result['end'] = read(channel, quiet, timeout)
        result['received'] = received.decode('latin-1')
    finally:
        plain.close()
    return result


with open(sys.argv[1]) as file:
    jobs = json.load(file)
with concurrent.futures.ThreadPoolExecutor(32) as pool:
    json.dump(list(pool.map(carry_out, jobs)), sys.stdout)

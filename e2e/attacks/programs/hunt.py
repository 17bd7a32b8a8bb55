"""Looks for a secret everywhere inside a sandbox.

Usage: hunt.py NEEDLES SECONDS [FILE...]

NEEDLES is a JSON file {"name": "first characters of a value"}. A value itself is never given: whoever holds it would find
it in their own memory. A find is a needle, in some form, that goes on for several characters more than this program knows.
Further FILEs are searched as well (what other probes got). The report is JSON on standard output.
"""
import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

GOES_ON = 6
MAX_FILE_BYTES = 8 << 20
MAX_REGION_BYTES = 64 << 20


def forms_of(text):
    """(form, fixed bytes, pattern of what follows) of a needle."""
    raw = text.encode()
    token = rb'[A-Za-z0-9_]{%d}' % GOES_ON
    b64 = rb'[A-Za-z0-9+/_-]{%d}' % GOES_ON
    found = [('raw', raw, token), ('utf-16', text.encode('utf-16-le'), rb'(?:[A-Za-z0-9_]\0){%d}' % GOES_ON)]
    for shift in (0, 1, 2):
        whole = base64.b64encode(b'\0' * shift + raw)
        core = whole[(0, 2, 3)[shift]:(shift + len(raw)) * 8 // 6]
        for variant in {core, core.replace(b'+', b'-').replace(b'/', b'_')}:
            found.append(('base64/%d' % shift, variant, b64))
    pairs = raw.hex().encode()
    found += [('hex', pairs, rb'[0-9a-fA-F]{%d}' % GOES_ON), ('HEX', pairs.upper(), rb'[0-9a-fA-F]{%d}' % GOES_ON)]
    for upper in (False, True):
        digits = ['%02X' % b if upper else '%02x' % b for b in raw]
        found.append(('percent', ''.join('%' + d for d in digits).encode(), rb'%'))
        found.append(('json', ''.join('\\u00' + d for d in digits).encode(), rb'\\u'))
    found.append(('reversed', raw[::-1], None))
    return found


class Hunt:
    def __init__(self, needles):
        self.forms = {name: forms_of(text) for name, text in needles.items()}
        self.finds = set()
        self.looked = {}
        self.bytes = 0

    def look(self, kind, where, data):
        self.looked[kind] = self.looked.get(kind, 0) + 1
        self.bytes += len(data)
        for name, forms in self.forms.items():
            for form, fixed, rest in forms:
                at = data.find(fixed)
                while at >= 0:
                    if rest is None:
                        ok = re.search(rb'[A-Za-z0-9_]{%d}$' % GOES_ON, data[max(0, at - GOES_ON):at])
                    else:
                        ok = re.compile(rest).match(data, at + len(fixed))
                    if ok:
                        self.finds.add((name, form, kind, where[:160]))
                        break
                    at = data.find(fixed, at + 1)

    def file(self, kind, path, limit=MAX_FILE_BYTES):
        self.look('name', path, os.fsencode(path))
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError:
            return
        try:
            data = b''
            while len(data) < limit:
                part = os.read(fd, 1 << 20)
                if not part:
                    break
                data += part
        except OSError:
            pass
        finally:
            os.close(fd)
        self.look(kind, path, data)

    def link(self, path):
        try:
            self.look('link', path, os.fsencode(os.readlink(path)))
        except OSError:
            pass

    def memory(self, pid):
        try:
            maps = open('/proc/%s/maps' % pid).read().splitlines()
            mem = os.open('/proc/%s/mem' % pid, os.O_RDONLY)
        except OSError:
            return
        for line in maps:
            span, rights = line.split()[:2]
            low, high = (int(x, 16) for x in span.split('-'))
            if not rights.startswith('r'):
                continue
            try:
                data = os.pread(mem, min(high - low, MAX_REGION_BYTES), low)
            except (OSError, OverflowError):
                continue
            self.look('memory', '/proc/%s/mem %s' % (pid, line.split()[-1]), data)
        os.close(mem)

    def process(self, pid):
        base = '/proc/' + pid
        for name in os.listdir(base):
            path = base + '/' + name
            if name in ('fd', 'map_files', 'ns', 'fdinfo'):
                try:
                    entries = os.listdir(path)
                except OSError:
                    continue
                for entry in entries:
                    self.link(path + '/' + entry)
                    if name == 'fd':
                        self.file('fd', path + '/' + entry, 1 << 20)
            elif name in ('net', 'attr'):
                for folder, _, files in os.walk(path):
                    for file in files:
                        self.file('proc', os.path.join(folder, file), 1 << 20)
            elif name in ('root', 'cwd', 'exe'):
                self.link(path)
                try:
                    for entry in os.listdir(path):
                        self.look('name', path, os.fsencode(entry))
                except OSError:
                    pass
            elif name in ('environ', 'cmdline'):
                self.file(name, path)
            elif name not in ('mem', 'pagemap', 'clear_refs', 'task'):
                self.file('proc', path, 1 << 20)
        self.memory(pid)

    def tree(self, top, deadline, kind='file'):
        for folder, folders, files in os.walk(top):
            if folder == '/':
                folders[:] = [f for f in folders if f not in ('proc', 'usr')]
            for name in files + folders:
                path = os.path.join(folder, name)
                if os.path.islink(path):
                    self.link(path)
                elif os.path.isfile(path) and os.path.getsize(path) <= MAX_FILE_BYTES:
                    self.file(kind, path)
            if time.monotonic() > deadline:
                return


def crash(folder):
    """A process that holds the marker and dumps core, if it is let; gives back what lies in the folder afterwards."""
    import resource
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        raised = True
    except (OSError, ValueError):
        raised = False
    pid = os.fork()
    if pid == 0:
        os.chdir(folder)
        os.kill(os.getpid(), signal.SIGSEGV)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    return {'raised': raised, 'dumped': os.WCOREDUMP(status), 'files': os.listdir(folder)}


def main():
    needles = json.load(open(sys.argv[1]))
    deadline = time.monotonic() + float(sys.argv[2])
    hunt = Hunt(needles)
    planted = os.environ.get('PLANTED', '')
    # What the search must find, or it proves nothing: a socket's name, a child's arguments and its memory.
    keeper = socket.socket(socket.AF_UNIX)
    keeper.bind('\0' + planted)
    child = subprocess.Popen(
        [sys.executable, '-c', 'import sys; kept = sys.argv[1] * 3; print("ready", flush=True); sys.stdin.read()', planted],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={'INHERITED': planted})
    child.stdout.readline()
    pids = [p for p in os.listdir('/proc') if p.isdigit()]
    for pid in pids:
        hunt.process(pid)
    for folder, folders, files in os.walk('/proc'):
        if folder == '/proc':
            folders[:] = [f for f in folders if not f.isdigit() and f not in ('self', 'thread-self')]
        for name in files:
            hunt.file('proc', os.path.join(folder, name), 1 << 20)
    for fd in range(3, 1024):
        try:
            hunt.look('inherited', str(fd), os.fsencode(os.readlink('/proc/self/fd/%d' % fd)))
        except OSError:
            pass
    for path in sys.argv[3:]:
        hunt.file('given', path, 1 << 30)
    hunt.tree('/', deadline)
    # The newest first: what a run has laid out is newer than what the system came with.
    hunt.tree('/usr/local', deadline)
    hunt.tree('/usr', deadline)
    with tempfile.TemporaryDirectory() as folder:
        core = crash(folder)
    try:
        tty = os.open('/dev/tty', os.O_RDWR)
        os.close(tty)
        terminal = True
    except OSError:
        terminal = False
    child.stdin.close()
    child.wait()
    report = {
        'finds': sorted(hunt.finds), 'looked': hunt.looked, 'bytes': hunt.bytes, 'core': core, 'terminal': terminal,
        'pids': sorted(map(int, pids)), 'environment': dict(os.environ),
        'ids': {name: open('/proc/self/' + name).read().split() for name in ('uid_map', 'gid_map')},
        'keys': [open(p).read() for p in ('/proc/keys', '/proc/key-users')],
        'descriptors': sorted(os.listdir('/proc/%d/fd' % child.pid)) if os.path.exists('/proc/%d/fd' % child.pid) else [],
    }
    json.dump(report, sys.stdout)


main()

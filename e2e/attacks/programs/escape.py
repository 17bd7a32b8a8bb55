"""Tries to get out of a sandbox by the kernel and by the file system; says what came of each attempt.

Usage: escape.py FACTS   (JSON: paths of the host that must not be there, process ids, the workspace; the report is JSON)
"""
import ctypes
import errno
import fcntl
import json
import mmap
import os
import pty
import resource
import select
import signal
import socket
import stat
import struct
import subprocess
import sys
import termios

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
facts = json.load(open(sys.argv[1]))
report = {}
X86 = os.uname().machine == 'x86_64'

NUMBERS = {
    'mount': (165, 40), 'umount2': (166, 39), 'pivot_root': (155, 41), 'chroot': (161, 51), 'unshare': (272, 97),
    'setns': (308, 268), 'keyctl': (250, 219), 'add_key': (248, 217), 'request_key': (249, 218), 'bpf': (321, 280),
    'perf_event_open': (298, 241), 'userfaultfd': (323, 282), 'io_uring_setup': (425, 425), 'init_module': (175, 105),
    'finit_module': (313, 273), 'kexec_load': (246, 104), 'open_by_handle_at': (304, 265), 'reboot': (169, 142),
    'swapon': (167, 224), 'sethostname': (170, 161), 'settimeofday': (164, 170), 'quotactl': (179, 60), 'acct': (163, 89),
    'fanotify_init': (300, 262), 'open_tree': (428, 428), 'move_mount': (429, 429), 'fsopen': (430, 430),
    'mount_setattr': (442, 442), 'clone3': (435, 435), 'syslog': (103, 116), 'pidfd_getfd': (438, 438),
    'process_vm_readv': (310, 270), 'memfd_secret': (447, 447), 'personality': (135, 92), 'kcmp': (312, 272),
    'vmsplice': (278, 75), 'lookup_dcookie': (212, 18), 'clock_settime': (227, 112), 'setgroups': (116, 159),
    'openat2': (437, 437), 'fsmount': (432, 432), 'clone': (56, 220), 'setdomainname': (171, 162),
    'io_uring_register': (427, 427), 'iopl': (172, None), 'ioperm': (173, None), 'modify_ldt': (154, None),
    'mknodat': (259, 33), 'landlock_create_ruleset': (444, 444), 'fspick': (433, 433), 'name_to_handle_at': (303, 264),
}


def call(name, *values):
    number = NUMBERS[name][0 if X86 else 1]
    if number is None:
        return 'absent'
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(v) if isinstance(v, int) else v for v in values])
    return 'ok:%d' % result if result >= 0 else errno.errorcode.get(ctypes.get_errno(), str(ctypes.get_errno()))


def forked(action):
    """What an action that may kill or change its process says, told by a child."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            said = str(action())
        except OSError as error:
            said = errno.errorcode.get(error.errno, str(error.errno))
        except Exception as error:
            said = type(error).__name__
        os.write(write, said.encode())
        os._exit(0)
    os.close(write)
    ready, _, _ = select.select([read], [], [], 10)
    said = os.read(read, 65536).decode() if ready else 'hangs'
    os.close(read)
    if not ready:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return said if said else 'signal:%d' % os.WTERMSIG(status) if os.WIFSIGNALED(status) else 'silent'


def attempt(name, action):
    try:
        said = action()
        report[name] = 'ok' if said is None else said
    except OSError as error:
        report[name] = errno.errorcode.get(error.errno, str(error.errno))
    except Exception as error:
        report[name] = type(error).__name__


def write(path, text='x', flags=os.O_WRONLY):
    fd = os.open(path, flags)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


# ---- system calls
text = ctypes.create_string_buffer
here = facts['workspace']
calls = {
    'mount tmpfs': lambda: call('mount', text(b'none'), text(b'/tmp'), text(b'tmpfs'), 0, 0),
    'mount proc': lambda: call('mount', text(b'proc'), text(b'/tmp'), text(b'proc'), 0, 0),
    'bind mount': lambda: call('mount', text(b'/'), text(b'/tmp'), 0, 4096, 0),
    'remount writable': lambda: call('mount', 0, text(b'/usr'), 0, 32 | 4096, 0),
    'umount': lambda: call('umount2', text(b'/proc/keys'), 2),
    'pivot_root': lambda: call('pivot_root', text(b'/tmp'), text(b'/tmp')),
    'chroot': lambda: call('chroot', text(b'/tmp')),
    'open_tree': lambda: call('open_tree', -100, text(b'/'), 1),
    'move_mount': lambda: call('move_mount', -100, text(b'/tmp'), -100, text(b'/run'), 0),
    'fsopen': lambda: call('fsopen', text(b'tmpfs'), 0),
    'mount_setattr': lambda: call('mount_setattr', -100, text(b'/usr'), 0, 0, 0),
    'keyctl session': lambda: call('keyctl', 0, -3, 0),
    'keyctl read': lambda: call('keyctl', 11, -4, 0, 0),
    'add_key': lambda: call('add_key', text(b'user'), text(b'a'), text(b'b'), 1, -4),
    'request_key': lambda: call('request_key', text(b'user'), text(b'a'), 0, -4),
    'bpf': lambda: call('bpf', 0, text(64), 64),
    'perf_event_open': lambda: call('perf_event_open', text(b'\0\0\0\0\x70\0\0\0' + b'\0' * 104), 0, -1, -1, 0),
    'userfaultfd': lambda: call('userfaultfd', 1),
    'io_uring_setup': lambda: call('io_uring_setup', 4, text(256)),
    'init_module': lambda: call('init_module', 0, 0, text(b'')),
    'kexec_load': lambda: call('kexec_load', 0, 0, 0, 0),
    'open_by_handle_at': lambda: call('open_by_handle_at', -100, text(64), 0),
    'reboot': lambda: call('reboot', 0xfee1dead, 672274793, 0, 0),
    'swapon': lambda: call('swapon', text(b'/tmp/x'), 0),
    'sethostname': lambda: call('sethostname', text(b'x'), 1),
    'settimeofday': lambda: call('settimeofday', text(16), 0),
    'clock_settime': lambda: call('clock_settime', 0, text(16)),
    'acct': lambda: call('acct', text(b'/tmp/acct')),
    'fanotify_init': lambda: call('fanotify_init', 0, 0),
    'syslog': lambda: call('syslog', 3, text(64), 64),
    'iopl': lambda: call('iopl', 3),
    'ioperm': lambda: call('ioperm', 0, 1, 1),
    'modify_ldt': lambda: call('modify_ldt', 1, text(16), 16),
    'clone3': lambda: call('clone3', text(88), 88),
    'setgroups': lambda: call('setgroups', 0, 0),
    'vmsplice': lambda: call('vmsplice', 1, 0, 0, 0),
    'quotactl': lambda: call('quotactl', 0x80000102, 0, 0, 0),
}
for name, flag in {'mount': 0x20000, 'cgroup': 0x2000000, 'uts': 0x4000000, 'ipc': 0x8000000, 'user': 0x10000000,
                   'pid': 0x20000000, 'net': 0x40000000, 'user and net': 0x50000000}.items():
    calls['unshare ' + name] = lambda flag=flag: call('unshare', flag)
    calls['clone ' + name] = lambda flag=flag: clone(flag)


def clone(flag):
    said = call('clone', flag | signal.SIGCHLD, 0, 0, 0, 0)
    if said == 'ok:0':
        os._exit(0)
    return said


for kind in ('mnt', 'user', 'net', 'pid', 'ipc', 'uts', 'cgroup'):
    calls['setns ' + kind] = lambda kind=kind: call('setns', os.open('/proc/1/ns/' + kind, os.O_RDONLY), 0)
for family, name in {17: 'packet', 40: 'vsock', 38: 'alg', 15: 'key', 21: 'rds', 30: 'tipc', 31: 'bluetooth', 29: 'can', 44: 'xdp', 3: 'ax25'}.items():
    calls['socket ' + name] = lambda family=family: call_socket(family, socket.SOCK_RAW if family in (17, 15, 44) else socket.SOCK_DGRAM, 0)
    calls['socket stream ' + name] = lambda family=family: call_socket(family, socket.SOCK_STREAM, 0)
for name, family, kind, protocol in (('raw icmp', 2, 3, 1), ('raw tcp', 2, 3, 6), ('raw ip', 2, 3, 255), ('raw ipv6', 10, 3, 58)):
    calls['socket ' + name] = lambda f=family, k=kind, p=protocol: call_socket(f, k, p)
for protocol, name in {4: 'sock_diag', 6: 'xfrm', 9: 'audit', 10: 'fib', 11: 'connector', 12: 'netfilter', 15: 'uevent', 16: 'generic', 21: 'crypto'}.items():
    calls['netlink ' + name] = lambda p=protocol: call_socket(16, 3, p)


def call_socket(*arguments):
    made = socket.socket(*arguments)
    made.close()
    return 'ok'


for name, action in calls.items():
    report[name] = forked(action)


def machine_code(code):
    """Runs x86 instructions and gives back what is left in eax: system calls by doors that the filter could forget."""
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    result = ctypes.CFUNCTYPE(ctypes.c_long)(address)()
    return result


if X86:
    # mov eax, 20 (getpid); int 0x80; cdqe; ret
    report['int 0x80'] = forked(lambda: machine_code(b'\xb8\x14\x00\x00\x00\xcd\x80\x48\x98\xc3'))
    # mov eax, 0x40000000 + 39 (getpid by the x32 table); syscall; ret
    report['x32'] = forked(lambda: machine_code(b'\xb8\x27\x00\x00\x40\x0f\x05\xc3'))

# ---- identity
attempt('setuid 0', lambda: forked(lambda: os.setuid(0)))
attempt('setresuid 0', lambda: forked(lambda: os.setresuid(0, 0, 0)))
attempt('seteuid 65534', lambda: forked(lambda: os.seteuid(65534)))
attempt('uid_map', lambda: write('/proc/self/uid_map', '0 0 1'))
attempt('no_new_privs off', lambda: 'ok:%d' % libc.prctl(38, 0, 0, 0, 0))
attempt('ambient capability', lambda: 'ok:%d' % libc.prctl(47, 2, 21, 0, 0))
attempt('set-user-id programs', lambda: forked(lambda: subprocess.run(['/usr/bin/su', '-c', 'id -u'], stdin=subprocess.DEVNULL, capture_output=True, timeout=5).stdout.decode() or 'nothing'))
for name in ('CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb', 'NoNewPrivs', 'Seccomp'):
    report['status ' + name] = next(l for l in open('/proc/self/status') if l.startswith(name + ':')).split()[1]
report['status of 1'] = [l.split(':', 1)[1].split() for l in open('/proc/1/status') if l.startswith(('Uid', 'CapEff', 'CapBnd'))]
report['maps'] = {name: open('/proc/self/' + name).read().split() for name in ('uid_map', 'gid_map')}
report['core limit'] = list(resource.getrlimit(resource.RLIMIT_CORE))
report['mounts'] = [l.split() for l in open('/proc/self/mountinfo')]
report['devices'] = sorted(os.listdir('/dev'))
report['root entries'] = sorted(os.listdir('/'))
report['sys'] = os.listdir('/sys')


# ---- other processes
def trace(pid):
    if libc.ptrace(16, pid, 0, 0) != 0:
        return errno.errorcode.get(ctypes.get_errno(), 'refused')
    os.waitpid(pid, 0x40000000)
    libc.ptrace(17, pid, 0, 0)
    return 'ok'


def read_memory(pid):
    local = ctypes.create_string_buffer(64)
    vector = struct.pack('PN', ctypes.addressof(local), 64)
    remote = struct.pack('PN', 0x400000, 64)
    return call('process_vm_readv', pid, ctypes.create_string_buffer(vector), 1, ctypes.create_string_buffer(remote), 1, 0)


libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
report['ptrace of 1'] = forked(lambda: trace(1))
for pid in facts['pids']:
    attempt('see %d' % pid, lambda: os.listdir('/proc/%d' % pid) and 'seen')
    report['signal %d' % pid] = forked(lambda: os.kill(pid, 0))
    report['ptrace %d' % pid] = forked(lambda: trace(pid))
    report['read memory of %d' % pid] = forked(lambda: read_memory(pid))
    report['pidfd of %d' % pid] = forked(lambda: os.close(os.pidfd_open(pid)) or 'opened')
    report['compare %d' % pid] = forked(lambda: call('kcmp', os.getpid(), pid, 0, 0, 0))
    report['limits of %d' % pid] = forked(lambda: resource.prlimit(pid, resource.RLIMIT_CORE))
    for name in ('environ', 'mem', 'maps', 'fd', 'root', 'cwd', 'exe', 'cmdline', 'task', 'ns/net'):
        path = '/proc/%d/%s' % (pid, name)
        attempt('open ' + path, lambda: os.close(os.open(path, os.O_RDONLY)))

# ---- files of the host
for path in facts['absent']:
    attempt('see ' + path, lambda: os.lstat(path) and 'seen')
    # Its own folders may have such names; the host's must not get the file.
    attempt('own ' + path, lambda: os.close(os.open(path + '.sallyport-e2e', os.O_CREAT | os.O_WRONLY)))
for path in ('/proc/sys/kernel/core_pattern', '/proc/sys/kernel/modprobe', '/proc/sys/vm/overcommit_memory', '/proc/sys/fs/binfmt_misc/register',
             '/proc/sys/net/ipv4/ip_forward', '/proc/sys/user/max_user_namespaces', '/proc/sysrq-trigger', '/proc/self/attr/current',
             '/proc/1/oom_score_adj', '/proc/self/timens_offsets', '/proc/self/projid_map', '/proc/kcore', '/proc/mem', '/proc/kpageflags'):
    attempt('write ' + path, lambda: write(path, '-1000' if 'oom' in path else '1'))
for path in ('/usr/bin/sh', '/usr/bin/env', '/usr/lib/x', '/etc/passwd', '/etc/ld.so.preload', '/bin/x', '/x', '/etc/ssl/certs/ca-certificates.crt', '/dev/x', '/sys/x'):
    attempt('open for writing ' + path, lambda: os.close(os.open(path, os.O_WRONLY | os.O_CREAT)))
attempt('exe of 1 for writing', lambda: os.close(os.open('/proc/1/exe', os.O_WRONLY)))
attempt('shadow', lambda: open('/etc/shadow').read() and 'read')
attempt('root of 1', lambda: sorted(os.listdir('/proc/1/root')) == sorted(os.listdir('/')) and 'own')
attempt('above the root', lambda: os.path.samefile('/proc/1/root/../../..', '/') and 'own')
for name, kind, device in (('disk', stat.S_IFBLK, (8, 0)), ('vda', stat.S_IFBLK, (254, 0)), ('mem', stat.S_IFCHR, (1, 1)), ('tty', stat.S_IFCHR, (4, 0)), ('fuse', stat.S_IFCHR, (10, 229)), ('kvm', stat.S_IFCHR, (10, 232)), ('tun', stat.S_IFCHR, (10, 200))):
    for folder in ('/tmp', here, '/dev/shm'):
        attempt('mknod %s in %s' % (name, 'workspace' if folder == here else folder), lambda: os.mknod(os.path.join(folder, 'device-' + name), kind | 0o666, os.makedev(*device)))

# ---- terminals
def inject(request, wide=False):
    master, slave = pty.openpty()
    value = ctypes.create_string_buffer(b'x')
    libc.ioctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p]
    done = libc.ioctl(slave, request | (1 << 32 if wide else 0), value)
    return 'ok' if done == 0 else errno.errorcode[ctypes.get_errno()]


attempt('TIOCSTI', lambda: forked(lambda: (os.setsid(), inject(0x5412))[1]))
attempt('TIOCSTI with high bits', lambda: forked(lambda: (os.setsid(), inject(0x5412, True))[1]))
attempt('TIOCLINUX', lambda: forked(lambda: inject(0x541c)))
attempt('TIOCSETD', lambda: forked(lambda: inject(0x5423)))
attempt('controlling terminal', lambda: os.ttyname(os.open('/dev/tty', os.O_RDWR)))
attempt('TIOCSTI of the controlling terminal', lambda: fcntl.ioctl(os.open('/dev/tty', os.O_RDWR), 0x5412, b'x') and 'ok')
report['descriptors'] = {fd: os.readlink('/proc/self/fd/' + fd) for fd in os.listdir('/proc/self/fd') if os.path.exists('/proc/self/fd/' + fd)}

json.dump(report, sys.stdout)

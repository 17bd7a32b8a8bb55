"""Tries to get at the host by files of the workspace: links, modes, exchanges by name; says what came of each attempt.

Usage: workspace.py FACTS   (JSON: the workspace, a file of the host outside of it; the report is JSON on standard output)
"""
import ctypes
import errno
import json
import os
import sys
import threading

libc = ctypes.CDLL(None, use_errno=True)
facts = json.load(open(sys.argv[1]))
here = facts['workspace']
report = {}


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


# ---- the workspace
os.chdir(here)
attempt('set-user-id file', lambda: (open('s', 'w').close(), os.chmod('s', 0o4755)) and 'made')
attempt('set-user-id file by open', lambda: os.close(os.open('s2', os.O_CREAT | os.O_WRONLY, 0o6777)) or 'mode:%o' % os.stat('s2').st_mode)
for name, mode in (('user', 0o4755), ('group', 0o2755), ('both', 0o6777)):
    open('mode', 'w').close()
    attempt('set-id of ' + name + ' by chmod', lambda: os.chmod('mode', mode))
    attempt('set-id of ' + name + ' by fchmod', lambda: os.fchmod(os.open('mode', os.O_RDONLY), mode))
    attempt('set-id of ' + name + ' by fchmodat', lambda: os.chmod('mode', mode, dir_fd=os.open('.', os.O_RDONLY)))
    attempt('set-id of ' + name + ' by mknod', lambda: os.mknod('made', 0o100000 | mode))
report['set-id modes'] = sorted(name for name in os.listdir('.') if os.lstat(name).st_mode & 0o6000)
attempt('give away', lambda: os.chown('s', 0, 0))
attempt('xattr capability', lambda: os.setxattr('s', 'security.capability', bytes.fromhex('0100000200040000000000000000000000000000')))
attempt('link before, read', lambda: open('link-before').read() and 'read')
attempt('link before, written', lambda: write('link-before', 'owned'))
attempt('link before, made anew', lambda: write('home-before/.bashrc', 'owned', os.O_WRONLY | os.O_CREAT))
attempt('link before, listed', lambda: os.listdir('home-before') and 'listed')
os.symlink('/etc/shadow', 'to-shadow')
os.symlink(facts['outside'], 'to-outside')
os.symlink('..', 'up')
attempt('symlink to shadow', lambda: open('to-shadow').read() and 'read')
attempt('symlink out', lambda: open('to-outside').read() and 'read')
attempt('write through symlink out', lambda: write('to-outside', 'owned'))
attempt('up', lambda: sorted(os.listdir('up')))
attempt('hard link to usr', lambda: os.link('/usr/bin/env', 'hard'))
attempt('hard link through /proc', lambda: os.link('/proc/self/exe', 'hard2', follow_symlinks=True))
attempt('rename over the workspace', lambda: os.rename(here, here + '-moved'))
attempt('remove the workspace', lambda: os.rmdir(here))
for path in ('.git/hooks/pre-commit', '.git/hooks/post-checkout', '.git/config', '.git/config.worktree', '.git/commondir', '.git/config.lock'):
    attempt('write ' + path, lambda: write(path, 'x', os.O_WRONLY | os.O_CREAT))
attempt('move .git', lambda: os.rename('.git', 'git2'))
attempt('move .git/hooks', lambda: os.rename('.git/hooks', '.git/h2'))
attempt('swap .git/hooks', lambda: (os.symlink('/tmp', 'hooks-link'), os.replace('hooks-link', '.git/hooks')) and 'swapped')
attempt('remove .git/config', lambda: os.unlink('.git/config'))
attempt('chmod .git/hooks', lambda: os.chmod('.git/hooks', 0o777))
attempt('write the index', lambda: write('.git/index.lock', 'x', os.O_WRONLY | os.O_CREAT))


def race():
    """Exchanges a directory for a link, over and over, while another thread walks through it."""
    os.mkdir('swing')
    open('swing/file', 'w').write('inside')
    os.symlink('/', 'lure')
    stop = threading.Event()
    seen = set()

    def swing():
        while not stop.is_set():
            libc.renameat2(-100, b'swing', -100, b'lure', 2)

    thread = threading.Thread(target=swing)
    thread.start()
    for _ in range(3000):
        for path in ('swing/file', 'swing/root/.bashrc', 'swing/etc/shadow'):
            try:
                seen.add(open(path).read()[:10])
            except OSError:
                pass
    stop.set()
    thread.join()
    return sorted(seen)


attempt('rename race', race)

json.dump(report, sys.stdout)

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { complementPatterns, readSeccompProfile, resolveSeccomp } from './seccomp.ts';
import type { SeccompFilter, SyscallArgument } from './seccomp.ts';

const MACHINE = { arch: 'x64', kernel: '6.1.0-13-amd64' };

const PROFILE = {
  defaultAction: 'SCMP_ACT_ERRNO',
  syscalls: [
    { names: ['bdflush'], action: 'SCMP_ACT_ERRNO', errnoRet: 1 },
    {
      names: [
        'read',
        'write',
        'open',
        'openat',
        'clone',
        'clone3',
        'unshare',
        'mount',
        'setns',
        'ioctl',
        'chmod',
        'keyctl',
      ],
      action: 'SCMP_ACT_ALLOW',
    },
    { names: ['bpf'], action: 'SCMP_ACT_ALLOW', includes: { caps: ['CAP_SYS_ADMIN'] } },
    { names: ['bpf'], action: 'SCMP_ACT_ERRNO', errnoRet: 1, excludes: { caps: ['CAP_SYS_ADMIN'] } },
    { names: ['socket'], action: 'SCMP_ACT_ALLOW', excludes: { caps: ['CAP_AUDIT_WRITE'] } },
    { names: ['arch_prctl'], action: 'SCMP_ACT_ALLOW', includes: { arches: ['amd64', 'x32'] } },
    { names: ['set_tls'], action: 'SCMP_ACT_ALLOW', includes: { arches: ['arm64'] } },
    { names: ['ptrace'], action: 'SCMP_ACT_ALLOW', includes: { minKernel: '4.8' } },
    { names: ['future'], action: 'SCMP_ACT_ALLOW', includes: { minKernel: '7.0' } },
    { names: ['traced'], action: 'SCMP_ACT_LOG' },
  ],
};

test('resolveSeccomp() allows nothing that mounts, makes namespaces, loads programs or holds keys', () => {
  for (const profile of [PROFILE, installedProfile()].filter((found) => found !== undefined)) {
    const filter = resolveSeccomp(profile, MACHINE);
    for (const [name, ...args] of [
      ['mount'],
      ['umount2'],
      ['setns'],
      ['pivot_root'],
      ['open_tree'],
      ['fsopen'],
      ['bpf'],
      ['kexec_load'],
      ['keyctl'],
      ['add_key'],
      ['request_key'],
      ['userfaultfd'],
      ['io_uring_setup'],
      ['clone3'],
      ['openat2'],
      ['perf_event_open'],
      ['reboot'],
      ['unshare', 0x4000_0000],
      ['unshare', 0x1002_0000],
      ['clone', 0x1000_0011],
      ['clone', 0x2_0011],
      ['socket', 40, 1, 0],
      ['socket', 38, 5, 0],
      ['socket', 17, 3, 0],
      ['socket', 16, 3, 15],
      ['socket', 2 ** 32 + 1, 1, 0],
      ['ioctl', 0, 0x5412],
      ['ioctl', 0, 2 ** 32 + 0x5412],
      ['ioctl', 0, 0x541c],
      ['chmod', 0, 0o4755],
      ['chmod', 0, 0o2755],
      ['openat', 0, 0, 0o101, 0o4755],
      ['openat', 0, 0, 0o2020_0002, 0o2755],
    ] as [string, ...number[]][]) {
      assert.equal(isAllowed(filter, name, args), false, `${name}(${args.join()})`);
    }
    for (const [name, ...args] of [
      ['read'],
      ['unshare', 0x1000_0000],
      ['clone', 0x11],
      ['clone', 0x3d_0f00],
      ['socket', 1, 1, 0],
      ['socket', 2, 0x8_0801, 6],
      ['socket', 10, 2, 0],
      ['socket', 16, 3, 0],
      ['ioctl', 0, 0x5413],
      ['ioctl', 0, 0x5401],
      ['chmod', 0, 0o1777],
      ['openat', 0, 0, 0o101, 0o644],
      ['openat', 0, 0, 0, 0o7777],
    ] as [string, ...number[]][]) {
      assert.equal(isAllowed(filter, name, args), true, `${name}(${args.join()})`);
    }
  }
});

test('resolveSeccomp() applies conditions on capabilities, architecture and kernel', () => {
  const filter = resolveSeccomp(PROFILE, MACHINE);
  assert.deepEqual(
    ['arch_prctl', 'set_tls', 'ptrace', 'future', 'traced', 'bdflush', 'unknown'].map((name) =>
      isAllowed(filter, name, []),
    ),
    [true, false, true, false, false, false, false],
  );
  assert.deepEqual(filter.architectures, ['SCMP_ARCH_X86_64']);
});

test('resolveSeccomp() fails closed on what it does not understand', () => {
  const refused = { code: 'SANDBOX_FAILED' };
  assert.throws(() => resolveSeccomp(PROFILE, { arch: 'mips', kernel: '6.1' }), refused);
  assert.throws(() => resolveSeccomp({ ...PROFILE, defaultAction: 'SCMP_ACT_ALLOW' }, MACHINE), refused);
  assert.throws(() => resolveSeccomp(null, MACHINE), refused);
  assert.throws(() => readSeccompProfile(['/nonexistent/seccomp.json']), { code: 'TOOL_MISSING' });
});

test('complementPatterns() matches every number but the excluded, once', () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.integer({ min: 0, max: 0xffff_ffff }), { minLength: 1, maxLength: 4 }),
      fc.integer({ min: 0, max: 0xffff_ffff }),
      (excluded, number) => {
        const patterns = complementPatterns(excluded);
        const count = (value: number) =>
          patterns.filter(({ mask, value: wanted }) => (BigInt(value) & BigInt(mask)) === BigInt(wanted)).length;
        assert.equal(count(number), excluded.includes(number) ? 0 : 1);
        for (const one of excluded) assert.equal(count(one), 0);
      },
    ),
  );
});

function installedProfile(): unknown {
  try {
    return readSeccompProfile();
  } catch {
    return undefined;
  }
}

/** What the kernel would do with a call, by the OCI specification's meaning of the rules: refusal wins. */
function isAllowed(filter: SeccompFilter, name: string, args: readonly number[]): boolean {
  const matching = filter.syscalls.filter(
    (rule) => rule.names.includes(name) && (rule.args ?? []).every((arg) => matches(arg, args[arg.index] ?? 0)),
  );
  return matching.length > 0 && matching.every((rule) => rule.action === 'SCMP_ACT_ALLOW');
}

function matches({ op, value, valueTwo }: SyscallArgument, actual: number): boolean {
  switch (op) {
    case 'SCMP_CMP_EQ':
      return actual === value;
    case 'SCMP_CMP_NE':
      return actual !== value;
    case 'SCMP_CMP_GT':
      return actual > value;
    case 'SCMP_CMP_MASKED_EQ':
      return (BigInt(actual) & BigInt(value)) === BigInt(valueTwo ?? 0);
    default:
      throw new Error(`unknown comparison ${op}`);
  }
}

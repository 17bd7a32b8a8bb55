import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Caller } from '../harness/caller.ts';
import { createScene } from '../harness/caller.ts';
import { newCanary } from '../harness/canary.ts';
import { whyNotInside } from '../harness/tools.ts';
import { startUpstream } from '../harness/upstream.ts';
import { createFamily } from './attack.ts';
import { BOUND, OTHER, SAME_HOST, request, toBound } from './attempts.ts';
import type { Job } from './attempts.ts';
import { layBait } from './bait.ts';
import { addGauntletAttacks } from './gauntlet.ts';
import { findReleased, isAudited, readStatuses, runJobs } from './jobs.ts';
import { startNameServer } from './name-server.ts';

const family = createFamily(
  'destinations',
  'Where a connection really goes: redirects, literal addresses, names whose DNS answers lead inward or change between check and use.',
);

const python = whyNotInside('python3');
const INWARD = 'services of the host and its network, the cloud’s credentials among them';

addGauntletAttacks(family, ['redirect'], 'one');

const REDIRECTS: Readonly<Record<string, { readonly name: string; readonly to: string }>> = {
  'other-host': { name: 'a redirect to an attacker’s host', to: `https://${OTHER}/attempt/other-host` },
  downgrade: { name: 'a redirect from https to http', to: `http://${BOUND}/attempt/downgrade` },
  'other-port': { name: 'a redirect to another port of the host', to: `https://${BOUND}:8443/attempt/other-port` },
  userinfo: {
    name: 'a redirect whose user name is the bound host',
    to: `https://${BOUND}:443@${OTHER}/attempt/userinfo`,
  },
};

family.attacks(
  'a redirect takes no value along',
  async (caller, judge) => {
    const canary = newCanary();
    await using upstream = await startUpstream({ names: [BOUND, OTHER] });
    // -k: plain TCP reaches the upstream's own certificate, whose authority is unknown inside.
    const follow = `curl -sS -m 8 -k -L -H "X-Api-Key: $API_TOKEN"`;
    const { output } = await runJobs(caller, [toBound('control', [`Host: ${BOUND}`], SAME_HOST)], {
      flags: [
        ...upstream.flags(),
        ...['--resolve', `${BOUND}:8443:127.0.0.1:${upstream.httpsPort}`, '--secret', `API_TOKEN@${BOUND}`],
        ...['--allow', OTHER, '--allow', BOUND, '--allow', `${BOUND}:8443`],
      ],
      env: { API_TOKEN: canary.value },
      canaries: [canary],
      shell: Object.values(REDIRECTS)
        .map(({ to }) => `${follow} "https://${BOUND}/redirect?to=${to}" 2>&1\n`)
        .join(''),
    });
    const targets = upstream.requests.map(({ target }) => target);
    const released = findReleased(upstream, canary).map(({ target }) => target);
    assert.ok(
      released.includes('/attempt/control') && released.some((target) => target.startsWith('/redirect')),
      output,
    );
    for (const [id, { name }] of Object.entries(REDIRECTS)) {
      await judge(
        { name, leaks: 'the value, to a host of the upstream’s choice, or to who listens on the way' },
        () => {
          assert.ok(targets.includes(`/attempt/${id}`), `was not followed: ${output}`);
          assert.ok(!released.includes(`/attempt/${id}`), 'it got the value');
        },
      );
    }
  },
  { skip: python, callers: 'one' },
);

/** A name, other than localhost, that this machine itself resolves to an address of a special class. */
const inwardName = ((): string | undefined => {
  for (const line of readFileSync('/etc/hosts', 'utf8').split('\n')) {
    const [address = '', ...names] = (line.split('#')[0] ?? '').trim().split(/\s+/);
    const isInward = /^(127\.|10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|169\.254\.|::1$|f[cde])/.test(address);
    const name = names.find((one) => one !== 'localhost' && !one.endsWith('.localhost') && /^[a-z0-9.-]+$/.test(one));
    if (isInward && name !== undefined) return name;
  }
  return undefined;
})();

/** An address of every special kind. Of a link-local one the zone does not get through to the gate. */
const SPECIAL_ADDRESSES = [
  '127.0.0.2', '169.254.169.254', '169.254.1.1', '10.0.2.1', '172.16.0.1', '192.168.0.1', '100.64.0.1', '100.100.100.200', '0.0.0.1', '198.18.255.1', '198.19.255.1',
  '224.0.0.1', '239.255.255.250', '240.0.0.1', '255.255.255.255',
  '64:ff9b::7f00:1', '64:ff9b::a9fe:a9fe', '64:ff9b:1::7f00:1', '2002:7f00:1::1', '::ffff:169.254.169.254', '::ffff:0:7f00:1', 'fd00:ec2::254', 'fc00::1', 'fe80::1%eth0', 'fec0::1', 'ff02::1', '::7f00:1',
  '2001::7f00:1', '2001:db8::1', '100::1',
]; // prettier-ignore
/** Spellings that C libraries take for 127.0.0.1, and the sandbox's own. */
const OWN_SPELLINGS = ['2130706433', '0x7f.1', '0177.0.0.1', '127.1', '::1', '::ffff:127.0.0.1', '0.0.0.0'];

family.attacks(
  'no name and no spelling of an address leads to an inward address',
  async (caller, judge) => {
    const canary = newCanary();
    await using upstream = await startUpstream({ names: [BOUND] });
    const inward = inwardName === undefined ? [] : [inwardName];
    const jobs: Job[] = [
      toBound('control', [`Host: ${BOUND}`], SAME_HOST),
      ...inward.flatMap((host) => [
        { name: 'inward-tls', host, port: 443, send: [request('inward', [`Host: ${host}`])] },
        { name: 'inward-http', host, port: 80, tls: false, send: [request('inward', [`Host: ${host}`])] },
      ]),
      ...SPECIAL_ADDRESSES.flatMap((address) => [
        { name: `${address} 443`, address, port: 443, timeout: 4, sni: null, send: [request('address', ['Host: x'])] },
        { name: `${address} 80`, address, port: 80, timeout: 4, tls: false, send: [request('address', [`Host: ${address.includes(':') ? `[${address.split('%')[0]}]` : address}`])] },
      ]),
      ...OWN_SPELLINGS.map((address) => ({
        name: `own ${address}`, host: address, port: 80, tls: false, send: [request('own', ['Host: x'])],
      })),
    ]; // prettier-ignore
    const { result, answers } = await runJobs(caller, jobs, {
      flags: [
        ...upstream.flags(),
        ...['--secret', `API_TOKEN@${[BOUND, ...inward].join(',')}`],
        ...['--allow', '**', '--allow', '0.0.0.0/0', '--allow', '::/0'],
      ],
      env: { API_TOKEN: canary.value },
      canaries: [canary],
    });
    assert.equal(findReleased(upstream, canary).length, 1, 'the positive control');
    const assertRefused = (name: string): void => {
      const { received, end } = answers.get(name) ?? assert.fail(`no report of ${name}`);
      const status = readStatuses(received).at(-1) ?? null;
      assert.ok([null, 400, 403, 421].includes(status), `${name}: ${end} ${received.slice(0, 300)}`);
    };
    for (const address of SPECIAL_ADDRESSES) {
      await judge({ name: `the literal address ${address}, with rules that open every network`, leaks: INWARD }, () => {
        assertRefused(`${address} 443`);
        assertRefused(`${address} 80`);
      });
    }
    for (const host of ['169.254.169.254', '10.0.2.1', '64:ff9b::7f00:1', 'fd00:ec2::254', ...inward])
      assert.ok(isAudited(result, host, 'ADDRESS_DENIED'), `${host}: ${JSON.stringify(result.audit)}`);
    for (const spelling of OWN_SPELLINGS) {
      await judge({ name: `${spelling}, a spelling of the loopback`, leaks: INWARD }, () => {
        assertRefused(`own ${spelling}`);
        assert.match(answers.get(`own ${spelling}`)!.end, /^connect:/);
      });
    }
    if (inward.length === 0) return;
    assertRefused('inward-tls');
    assertRefused('inward-http');
  },
  { skip: python },
);

/** Where the attacker's name server, the address that a rule names, and what must not be reached are. */
const NAME_SERVER = '127.83.80.1';
const NAMED = '127.83.80.2';
const BAIT = '127.83.80.3';

/** What an attacker's name server says. The first are answers of a class; each has a name of its own. */
const ANSWERS: readonly string[] = [
  '127.0.0.1', '0.0.0.0', '0.1.2.3', '10.0.0.1', '100.64.0.1', '100.100.100.200', '169.254.1.1', '169.254.169.254', '172.16.0.1', '192.168.0.1', '192.0.2.1', '198.18.0.1', '198.19.255.1',
  '224.0.0.1', '239.255.255.250', '240.0.0.1', '255.255.255.255',
  '::1', '::', '::7f00:1', '::ffff:127.0.0.1', '::ffff:10.0.0.1', '::ffff:0:7f00:1', '64:ff9b::7f00:1', '64:ff9b::a9fe:a9fe', '64:ff9b:1::7f00:1', '100::1', '2001::7f00:1', '2001:db8::1',
  '2002:7f00:1::1', '2002:a9fe:a9fe::1', 'fc00::1', 'fd00:ec2::254', 'fe80::1', 'fec0::1', 'ff02::1',
]; // prettier-ignore

const REBINDING: Readonly<Record<string, { readonly name: string; readonly answer: (time: number) => readonly string[]; readonly reaches: boolean }>> = {
  'rebind.evil.example': { name: 'an answer that is good at first and leads inward from then on', answer: (time) => [time === 0 ? NAMED : BAIT], reaches: true },
  'alternate.evil.example': { name: 'answers that change from one question to the next', answer: (time) => [time % 2 === 0 ? BAIT : NAMED], reaches: true },
  'both.evil.example': { name: 'good and inward addresses in one answer', answer: () => [BAIT, NAMED, '::1'], reaches: true },
  'families.evil.example': { name: 'a good IPv4 and an inward IPv6 address', answer: () => [NAMED, '::ffff:127.83.80.3'], reaches: true },
  'many.evil.example': { name: 'an inward address behind many others', answer: () => [...Array.from({ length: 20 }, (_, index) => `127.83.81.${index}`), BAIT], reaches: false },
}; // prettier-ignore

/** Starts a server that says `hello` at one address. */
async function startGreeter(address: string, port: number): Promise<{ server: Server; count: () => number }> {
  let count = 0;
  const server = createServer((socket) => {
    count += 1;
    socket.on('error', () => undefined);
    socket.end(`HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello`);
  });
  server.listen(port, address);
  await once(server, 'listening');
  return { server, count: () => count };
}

/** A command that gives the command line a resolver of its own, and the caller's rights. */
function resolveBy(nameServer: string, directory: string, caller: Caller): string[] {
  writeFileSync(join(directory, 'resolv.conf'), `nameserver ${nameServer}\noptions timeout:2 attempts:1\n`, {
    mode: 0o644,
  });
  writeFileSync(join(directory, 'nsswitch.conf'), 'passwd: files\ngroup: files\nhosts: files dns\n', { mode: 0o644 });
  const mounts = ['resolv.conf', 'nsswitch.conf'].map(
    (name) => `mount --bind '${directory}/${name}' "$(readlink -f /etc/${name})" &&`,
  );
  const drop = `setpriv --reuid=${caller.uid} --regid=${caller.gid} --clear-groups --`;
  return ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', `${mounts.join(' ')} exec ${drop} "$@"`, 'sh'];
}

family.attacks(
  'what a name server answers leads nowhere inward',
  async (caller, judge) => {
    const canary = newCanary();
    using scene = createScene(caller);
    const directory = mkdtempSync(join(tmpdir(), 'sallyport-resolver-'));
    await using stack = new AsyncDisposableStack();
    stack.defer(() => rmSync(directory, { recursive: true, force: true }));
    await using upstream = await startUpstream({ names: [BOUND] });
    // On every address of the host, which is where most of the answers lead to.
    await using everywhere = await layBait(scene);
    const port = everywhere.tcp + (everywhere.tcp < 65_000 ? 1 : -1);
    const good = await startGreeter(NAMED, port);
    const bait = await startGreeter(BAIT, port);
    for (const { server } of [good, bait]) stack.defer(() => void server.close());
    // The baits are alive.
    await once(connect(port, BAIT).resume(), 'end');
    await once(connect(everywhere.tcp, '127.0.0.1').resume(), 'end');
    const nameOf = (index: number): string => `a${index}.evil.example`;
    await using nameServer = await startNameServer(NAME_SERVER, (name, time) => {
      const index = /^a(\d+)\.evil\.example$/.exec(name)?.[1];
      return index === undefined ? (REBINDING[name]?.answer(time) ?? []) : [ANSWERS[Number(index)] ?? ''];
    });
    const plain = (name: string, host: string, to: number): Job => ({
      name, host, port: to, tls: false, timeout: 8, send: [request('dns', [`Host: ${host}`, 'Connection: close'])],
    }); // prettier-ignore
    const TRIES = 4;
    const jobs: Job[] = [
      toBound('control', [`Host: ${BOUND}`], SAME_HOST),
      ...ANSWERS.flatMap((_, index) => [
        plain(`${index} http`, nameOf(index), 80),
        { name: `${index} tls`, host: nameOf(index), port: 443, timeout: 8, send: [request('dns', [`Host: ${nameOf(index)}`, 'Connection: close'])] },
        plain(`${index} tcp`, nameOf(index), everywhere.tcp),
      ]),
      ...Object.keys(REBINDING).flatMap((host) =>
        Array.from({ length: TRIES }, (_, time) => plain(`${host} ${time}`, host, port)),
      ),
    ]; // prettier-ignore
    const { result, answers } = await runJobs(caller, jobs, {
      flags: [
        ...upstream.flags(),
        ...['--secret', `API_TOKEN@${BOUND}`, '--secret', 'EVIL_TOKEN=an-evil-value-of-its-own@*.evil.example'],
        ...['--allow', `**:${everywhere.tcp}`, '--allow', `**:${port}`, '--allow', `${NAMED}:${port}`],
        ...['--allow', '**', '--allow', '0.0.0.0/0', '--allow', '::/0'],
      ],
      env: { API_TOKEN: canary.value },
      canaries: [canary],
      through: resolveBy(NAME_SERVER, directory, caller),
    });
    assert.equal(findReleased(upstream, canary).length, 1, 'the positive control');
    for (const [index, address] of ANSWERS.entries()) {
      await judge({ name: `a name that resolves to ${address}`, leaks: INWARD }, () => {
        assert.ok(nameServer.questions.includes(nameOf(index)), 'the name was not asked for');
        for (const kind of ['http', 'tls']) {
          const { received } = answers.get(`${index} ${kind}`) ?? assert.fail('no report');
          assert.match(received, /^HTTP\/1\.1 403 [^]*"code":"ADDRESS_DENIED"/, `${kind}: ${received.slice(0, 300)}`);
        }
        assert.equal(answers.get(`${index} tcp`)?.received, '');
        assert.equal(everywhere.count(), 1, 'the host was reached');
        const events = result.audit.filter((one) => one['host'] === nameOf(index));
        assert.ok(
          events.length >= 3 && events.every((one) => one['code'] === 'ADDRESS_DENIED'),
          JSON.stringify(events),
        );
      });
    }
    for (const [host, { name, reaches }] of Object.entries(REBINDING)) {
      await judge({ name: `rebinding: ${name}`, leaks: INWARD }, () => {
        assert.equal(bait.count(), 1, 'the bait was reached');
        const got = Array.from({ length: TRIES }, (_, time) => answers.get(`${host} ${time}`)?.received ?? '');
        assert.equal(
          got.some((text) => text.endsWith('hello')),
          reaches,
          `${host}: ${got.join('|')}`,
        );
        // One lookup for a connection: what was checked is what is dialled.
        const asked = nameServer.questions.filter((one) => one === host).length;
        assert.ok(asked <= 2 * TRIES, `${asked} questions`);
      });
    }
  },
  {
    skip:
      python ??
      (process.geteuid?.() === 0 ? undefined : 'only root can serve DNS on port 53 and put a resolver in place'),
    timeoutMs: 110_000,
  },
);

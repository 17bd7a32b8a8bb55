import assert from 'node:assert/strict';
import { chmodSync, chownSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { CHECKOUT, createScene, eachCaller, findPresentCaller } from './harness/caller.ts';
import type { Scene } from './harness/caller.ts';
import { assertNoCanary, newCanary } from './harness/canary.ts';
import { createDaemonScene } from './harness/daemon.ts';
import { createGitRepository } from './harness/git-backend.ts';
import { headerValues } from './harness/recording.ts';
import { sallyport } from './harness/sallyport.ts';
import { runSdkProgram } from './harness/sdk-program.ts';
import { SYSTEM_PATH, whyNotInside } from './harness/tools.ts';
import { startUpstream } from './harness/upstream.ts';

const README = readFileSync(join(CHECKOUT, 'README.md'), 'utf8');

/** A block of the README that can be run, and what the comment before it says about running it. */
interface Block {
  readonly language: 'sh' | 'ts';
  readonly line: number;
  readonly marker: string | undefined;
  readonly text: string;
}

function findBlocks(markdown: string): Block[] {
  const blocks: Block[] = [];
  const lines = markdown.split('\n');
  for (let index = 0; index < lines.length; index += 1) {
    const [, language] = /^```(sh|bash|shell|console|ts|typescript|js|javascript)\s*$/.exec(lines[index] ?? '') ?? [];
    if (language === undefined) continue;
    const end = lines.indexOf('```', index + 1);
    const marker = /^<!-- (.*) -->$/.exec(lines[index - 1] ?? '')?.[1];
    blocks.push({
      language: /^[tj]/.test(language) ? 'ts' : 'sh',
      line: index + 1,
      marker,
      text: lines.slice(index + 1, end).join('\n'),
    });
    index = end;
  }
  return blocks;
}

const BLOCKS = findBlocks(README);
const isRunnable = ({ marker }: Block): boolean => marker === 'run' || marker === 'run: git';
const RUNNABLE = BLOCKS.filter((block) => block.language === 'sh' && isRunnable(block));
const PROGRAMS = BLOCKS.filter((block) => block.language === 'ts' && isRunnable(block));

test('every block of the README is run here, or says why not', () => {
  for (const { line, marker } of BLOCKS) {
    const isMarked = marker === 'run' || marker === 'run: git' || /^not run: \S.*/.test(marker ?? '');
    assert.ok(
      isMarked,
      `README.md:${line}: the line before the block must be <!-- run -->, <!-- run: git --> or <!-- not run: WHY -->`,
    );
  }
  assert.ok(RUNNABLE.length >= 4);
  assert.ok(PROGRAMS.length >= 2);
});

/** Puts a `sallyport` on PATH that finds the hosts of the README at the upstream of the test. */
function installCommand(scene: Scene, flags: readonly string[]): string {
  const directory = join(scene.root, 'bin');
  mkdirSync(directory);
  const quoted = flags.map((flag) => `'${flag}'`).join(' ');
  writeFileSync(
    join(directory, 'sallyport'),
    `#!/bin/sh\nif [ "$1" = run ]; then shift; set -- run ${quoted} "$@"; fi\nexec '${join(CHECKOUT, 'sallyport')}' "$@"\n`,
  );
  chmodSync(join(directory, 'sallyport'), 0o755);
  chmodSync(directory, 0o755);
  return directory;
}

async function runBlock(
  scene: Scene,
  text: string,
  commands: string,
): Promise<{ status: number | null; output: string }> {
  const workspace = join(scene.workspace, 'project');
  mkdirSync(workspace);
  chownSync(workspace, scene.caller.uid, scene.caller.gid);
  const child = spawn('bash', ['-euo', 'pipefail', '-c', text], {
    cwd: workspace,
    env: { PATH: `${commands}:${SYSTEM_PATH}`, HOME: scene.home, TMPDIR: scene.tmp, LANG: 'C.UTF-8' },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 60_000,
    ...(process.getuid?.() === scene.caller.uid ? {} : { uid: scene.caller.uid, gid: scene.caller.gid }),
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (part: string) => (output += part));
  child.stderr.setEncoding('utf8').on('data', (part: string) => (output += part));
  const status = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { status, output };
}

for (const { line, marker, text } of RUNNABLE) {
  eachCaller(
    `the block at README.md:${line} does what it says`,
    async (caller) => {
      using scene = createScene(caller);
      // The values that the block sets are what must not come back.
      const values = [...text.matchAll(/(?:TOKEN=)([^\s@"']{8,})/g)].map(([, value]) => value ?? '');
      const password = values[0] ?? 'unused-password';
      using repository = createGitRepository({ user: 'x-access-token', password });
      await using upstream = await startUpstream({ names: ['api.github.com', 'github.com'], git: repository });
      const { status, output } = await runBlock(scene, text, installCommand(scene, upstream.flags()));
      // A block may leave a daemon behind, as people would.
      await sallyport(['daemon', 'stop', '--sandboxes'], { scene, audit: false });
      assert.equal(status, 0, output);
      assert.doesNotMatch(output, /\[[A-Z_]{4,}\]\n/, output);
      for (const value of values) {
        assertNoCanary({ value }, { outputs: { 'what the block printed': output }, files: [scene.root] });
        const received = upstream.requests.flatMap(({ rawHeaders }) => rawHeaders.map(([, field]) => field));
        const basic = Buffer.from(`x-access-token:${value}`).toString('base64');
        assert.ok(
          received.some((field) => field.includes(value) || field.includes(basic)),
          'the upstream got the real value',
        );
      }
      if (text.includes('--allow example.org')) assert.match(output, /HOST_DENIED[^]*would be reachable/);
      if (text.includes('audit verify')) assert.match(output, /audit\.jsonl: whole, 1 line\n$/);
      if (marker === 'run: git') assert.match(output, /hello\.txt/);
    },
    { skip: whyNotInside('curl') ?? (marker === 'run: git' ? whyNotInside('git') : undefined) },
  );
}

for (const { line, text } of PROGRAMS) {
  test(`the program at README.md:${line} does what it says`, { skip: whyNotInside('curl') }, async () => {
    const [token, key] = [newCanary(), newCanary()];
    await using scene = await createDaemonScene(findPresentCaller());
    const hosts = ['api.github.com', 'api.example.com'];
    await using upstream = await startUpstream({ names: hosts });
    const directory = join(scene.root, 'program');
    mkdirSync(directory);
    symlinkSync(join(CHECKOUT, 'node_modules'), join(directory, 'node_modules'));
    writeFileSync(join(directory, 'package.json'), '{ "type": "module" }\n');
    const file = join(directory, 'program.ts');
    writeFileSync(file, text);
    const env = { GITHUB_TOKEN: token.value, SERVICE_API_KEY: key.value };
    const { status, output } = await runSdkProgram(file, scene, upstream, hosts, env);
    assert.equal(status, 0, output);
    if (text.includes('api.github.com')) {
      const received = upstream.requests.flatMap((request) => headerValues(request, 'authorization'));
      assert.deepEqual(received, [`Bearer ${token.value}`]);
    }
    if (text.includes("'tr'"))
      assert.match(output, /^0 SOME TEXT\n\nworking\ndone\nopenai ghp_\S+\nNOT_SUPPORTED_YET The image "python"/);
    for (const canary of [token, key]) assertNoCanary(canary, { outputs: { output }, files: [scene.root] });
  });
}

test("the README's table of options is the one of run --help", async () => {
  using scene = createScene(findPresentCaller());
  const help = (await sallyport(['run', '--help'], { scene, audit: false })).stdout;
  const expected = [...help.matchAll(/^ {2}(?:(-\w), )?(--[a-z-]+)/gm)].flatMap(([, short, long]) => [
    short,
    long ?? '',
  ]);
  const table = README.slice(README.indexOf('### Options of `run`')).split('\n\n', 3).join('\n\n');
  // The first column: each code span begins with an option.
  const listed = [...table.matchAll(/^\| (`[^|]*`) \|/gm)].flatMap(([, cell = '']) =>
    [...cell.matchAll(/`([^`]+)`/g)].flatMap(([, span = '']) => /^--?[\w-]+/.exec(span)?.[0] ?? []),
  );
  assert.ok(listed.length > 10, table);
  const known = new Set(expected.filter((name) => name !== undefined));
  for (const option of listed) assert.ok(known.has(option), `${option} is in README.md but not in run --help`);
  for (const line of help.matchAll(/^ {2}(?:(-\w), )?(--[a-z-]+)/gm)) {
    const [, short = '', long = ''] = line;
    if (long === '--help') continue;
    assert.ok(listed.includes(long) || listed.includes(short), `${long} is not in the table of README.md`);
  }
});

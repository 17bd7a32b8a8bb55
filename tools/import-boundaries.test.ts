import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { checkSource, checkSources, sourceFiles } from './import-boundaries.ts';

const ROOT = join(import.meta.dirname, '..');

test('checkSources() finds the sources of this checkout and no violation in them', () => {
  assert.ok(sourceFiles(ROOT).length > 5);
  assert.deepEqual(checkSources(ROOT), []);
});

const VIOLATIONS: readonly (readonly [place: string, source: string, message: RegExp])[] = [
  ['runtime/src/policy/a.ts', "import { readFileSync } from 'node:fs';", /pure folder may not import node:fs/],
  ['runtime/src/policy/a.ts', "import type { Stats } from 'node:fs';", /pure folder may not import node:fs/],
  ['runtime/src/policy/a.ts', "import * as fs from 'fs';", /pure folder may not import fs/],
  ['runtime/src/http/a.ts', "export * from 'node:net';", /pure folder may not import node:net/],
  ['runtime/src/http/a.ts', "const net = await import('node:net');", /pure folder may not import node:net/],
  ['runtime/src/http/a.ts', 'const name = `node:net`; await import(name);', /pure folder may not import \(computed\)/],
  ['runtime/src/secrets/a.ts', "type S = import('node:net').Socket;", /pure folder may not import node:net/],
  ['runtime/src/secrets/a.ts', "import { inspect } from 'node:util';", /pure folder may not import node:util/],
  ['runtime/src/secrets/a.ts', "import zod from 'zod';", /pure folder may not import zod/],
  ['runtime/src/policy/a.ts', 'export const now = () => Date.now();', /may not use Date\.now/],
  ['runtime/src/policy/a.ts', 'export const now = () => new Date();', /may not use new Date\(\)/],
  ['runtime/src/policy/a.ts', 'export const key = process.env.KEY;', /may not use process/],
  ['runtime/src/policy/a.ts', 'export const key = Math.random();', /may not use Math\.random/],
  ['runtime/src/policy/a.ts', "import '../http/message.ts';", /policy may not import http/],
  ['runtime/src/http/a.ts', "import type { A } from '../secrets/a.ts';", /http may not import secrets/],
  ['runtime/src/secrets/a.ts', "export type { A } from '../gate/a.ts';", /secrets may not import gate/],
  ['runtime/src/airlock/a.ts', "import '../gate/a.ts';", /airlock may not import gate/],
  ['runtime/src/sandbox/a.ts', "import '../gate/a.ts';", /sandbox may not import gate/],
  ['runtime/src/gate/a.ts', "import '../airlock/a.ts';", /gate may not import airlock/],
  ['runtime/src/engine/a.ts', "import '../cli/main.ts';", /engine may not import cli/],
  ['runtime/src/index.ts', "import './cli/main.ts';", /public entry may not import cli/],
  ['runtime/src/gate/a.ts', "import '../index.ts';", /the public entry/],
  ['runtime/src/gate/deep/a.ts', "import '../../cli/main.ts';", /gate may not import cli/],
  ['runtime/src/gate/a.ts', "import '../../../sdk/src/errors.ts';", /outside src/],
  ['runtime/src/gate/a.ts', "import 'sallyport';", /its own package/],
  ['runtime/src/novelty/a.ts', '', /no rule/],
  ['runtime/src/constructor/a.ts', '', /no rule/],
  ['runtime/src/gate/a.ts', 'log(secret.reveal());', /may not reveal/],
  ['runtime/src/gate/a.ts', "log(secret['reveal']());", /may not reveal/],
  ['runtime/src/gate/a.ts', 'log(secret?.[`reveal`]());', /may not reveal/],
  ['runtime/src/gate/a.ts', 'const { reveal } = secret;', /may not reveal/],
  ['runtime/src/secrets/spec.ts', 'const { reveal: show } = secret;', /may not reveal/],
  ['gauntlet/src/a.ts', "import 'sallyport';", /gauntlet may not import sallyport/],
  ['gauntlet/src/a.ts', "import type { ErrorCode } from '@sallyport/sdk';", /gauntlet may not import @sallyport\/sdk/],
  ['gauntlet/src/attacks/a.ts', "import '../../../runtime/src/index.ts';", /gauntlet may not import/],
  ['sdk/src/a.ts', "import { inspect } from 'node:util';", /SDK may not import node:util/],
  ['sdk/src/a.ts', "import 'commander';", /SDK may not import commander/],
  ['sdk/src/a.ts', "import '../../runtime/src/index.ts';", /SDK may not import/],
  ['sdk/src/a.ts', "export const text = Buffer.from('a');", /SDK may not use Buffer/],
  ['sdk/src/api/a.ts', "export type { A } from '../client/a.ts';", /contract may not import the client/],
  ['sdk/src/client/a.ts', "import { z } from 'zod';", /client may not import zod/],
  ['sdk/src/client/a.ts', "import 'node:sqlite';", /client may not import node:sqlite/],
  ['sdk/src/client/a.ts', "export const text = Buffer.from('a');", /client may not use Buffer/],
];

test('checkSource() names each planted violation with its line', () => {
  for (const [place, source, message] of VIOLATIONS) {
    const violations = checkSource(`packages/${place}`, `\n${source}\n`);
    assert.ok(
      violations.some((line) => line.startsWith(`packages/${place}:`) && message.test(line)),
      `${place}: ${source} gave ${JSON.stringify(violations)}`,
    );
    if (source !== '') assert.match(violations[0] ?? '', /^[^:]+:2: /);
  }
});

test('checkSource() lets pass what each place may do', () => {
  const allowed: readonly (readonly [string, string])[] = [
    ['runtime/src/policy/a.ts', "import { parse } from 'tldts'; import { SallyportError } from '@sallyport/sdk';"],
    ['runtime/src/http/a.ts', "import { Buffer } from 'node:buffer'; import '../policy/a.ts'; import './b.ts';"],
    [
      'runtime/src/http/a.ts',
      "interface P { process: string; fetch(): void } export const p = (x: P) => x.process + '';",
    ],
    ['runtime/src/http/a.ts', '// process.env and secret.reveal() in a comment\nexport const text = "process";'],
    ['runtime/src/policy/a.ts', 'export const at = (ms: number) => new Date(ms);'],
    ['runtime/src/secrets/secret-value.ts', "import { inspect } from 'node:util';"],
    ['runtime/src/secrets/substitution.ts', 'export const out = (s: SecretValue) => s.reveal();'],
    ['runtime/src/secrets/redact-stream.ts', 'export const out = (s: SecretValue) => s.reveal();'],
    [
      'runtime/src/gate/a.ts',
      "import '../http/a.ts'; import '../tls/a.ts'; import { connect } from 'node:net'; Date.now();",
    ],
    ['runtime/src/cli/a.ts', "import '../engine/a.ts'; import '../gate/a.ts';"],
    ['runtime/src/index.ts', "export * from '@sallyport/sdk'; export * from './engine/run.ts';"],
    ['gauntlet/src/attacks/a.ts', "import '../attack.ts'; import net from 'node:net'; import '@peculiar/x509';"],
    ['sdk/src/a.ts', "import { z } from 'zod'; import './b.ts'; new URL('https://h.example');"],
    ['sdk/src/client/a.ts', "import process from 'node:process'; import type { A } from '../api/a.ts'; process.env;"],
  ];
  for (const [place, source] of allowed)
    assert.deepEqual(checkSource(`packages/${place}`, source), [], `${place}: ${source}`);
});

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync, mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import fc from 'fast-check';
import { findAwsKeys, parseProfiles } from './aws-profile.ts';
import { CANARY, failureOf } from './sources.testing.ts';

const home = mkdtempSync(join(tmpdir(), 'sallyport-aws-'));
mkdirSync(join(home, '.aws'));
after(() => rmSync(home, { recursive: true, force: true }));

function writeFiles(credentials: string, config = ''): void {
  writeFileSync(join(home, '.aws', 'credentials'), credentials);
  writeFileSync(join(home, '.aws', 'config'), config);
}

function find(environment: Readonly<Record<string, string>> = {}) {
  const settings = {
    environment: { HOME: home, PATH: '/usr/bin:/bin', ...environment },
    directory: home,
    showError: false,
    timeLimitMs: 10_000,
  };
  return findAwsKeys(settings, new AbortController().signal);
}

const PRINT_KEYS = `printf '{"Version":1,"AccessKeyId":"AKIAPROCESS","SecretAccessKey":"${CANARY}","SessionToken":"t/+=","Expiration":"2030-01-02T03:04:05Z"}'`;

describe('findAwsKeys', () => {
  test('findAwsKeys() takes the environment before any profile', async () => {
    writeFiles('[default]\naws_access_key_id = AKIAFILE\naws_secret_access_key = s\n');
    const keys = await find({ AWS_ACCESS_KEY_ID: 'AKIAENV', AWS_SECRET_ACCESS_KEY: 'a/b+c', AWS_SESSION_TOKEN: 't==' });
    assert.equal(keys?.text, 'AKIAENV:a/b+c:t==');
    assert.equal((await find({ AWS_ACCESS_KEY_ID: 'AKIAENV' }))?.text, 'AKIAFILE:s');
  });

  test('findAwsKeys() reads profiles of both files', async () => {
    writeFiles(
      '# a comment\n[default]\naws_access_key_id=AKIADEFAULT\naws_secret_access_key=s # mine\n\n[ work ]\r\naws_access_key_id = AKIAWORK\r\nAWS_SECRET_ACCESS_KEY = a=b\r\naws_session_token = t\r\n',
      '[profile static]\naws_access_key_id = AKIASTATIC\naws_secret_access_key = s\ns3 =\n  aws_access_key_id = AKIANESTED\n[profile "two words"]\naws_access_key_id = AKIATWO\naws_secret_access_key = s\n[profile asks]\nregion = us-east-1\ncredential_process = ' +
        PRINT_KEYS,
    );
    for (const [profile, text] of [
      [undefined, 'AKIADEFAULT:s'],
      ['work', 'AKIAWORK:a=b:t'],
      ['static', 'AKIASTATIC:s'],
      ['two words', 'AKIATWO:s'],
      ['asks', `AKIAPROCESS:${CANARY}:t/+=`],
    ] as const) {
      assert.equal((await find(profile === undefined ? {} : { AWS_PROFILE: profile }))?.text, text);
    }
    assert.equal((await find({ AWS_PROFILE: 'asks' }))?.expiresAtMs, Date.UTC(2030, 0, 2, 3, 4, 5));
    assert.equal((await find({ AWS_DEFAULT_PROFILE: 'work' }))?.origin, 'the AWS profile "work"');
    const elsewhere = join(home, 'elsewhere');
    writeFileSync(elsewhere, '[default]\naws_access_key_id=AKIAELSE\naws_secret_access_key=s\n');
    assert.equal((await find({ AWS_SHARED_CREDENTIALS_FILE: elsewhere }))?.text, 'AKIAELSE:s');
  });

  test('findAwsKeys() is null where nothing is set up', async () => {
    writeFiles('');
    assert.equal(await find(), null);
    writeFiles('[default]\nregion = us-east-1\n');
    assert.equal(await find(), null);
    assert.equal(await find({ HOME: join(home, 'nobody') }), null);
  });

  test('findAwsKeys() fails with words that hold no key', async () => {
    const keys = `aws_access_key_id = AKIAX\naws_secret_access_key = ${CANARY}\n`;
    writeFiles(
      `[role]\n${keys}[space]\naws_access_key_id = AKIAX\naws_secret_access_key = ${CANARY} ${CANARY}\n`,
      `[profile role]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = default\n[profile sso]\nsso_session = x\n[profile bad]\ncredential_process = echo ${CANARY}\n[profile fails]\ncredential_process = echo ${CANARY} >&2; exit 3\n[profile empty]\nregion = x\n`,
    );
    for (const [profile, words] of [
      ['absent', /no AWS profile "absent"/],
      ['role', /assumes a role/],
      ['sso', /identity center/],
      ['space', /a character that no key has/],
      ['bad', /in the form that AWS describes/],
      ['fails', /ended with status 3/],
      ['empty', /neither keys nor a credential_process/],
    ] as const) {
      assert.match(await failureOf(find({ AWS_PROFILE: profile })), words);
    }
    await failureOf(find({ AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: `${CANARY}:x` }));
    await failureOf(find({ AWS_CONFIG_FILE: home }));
  });
});

test('parseProfiles() reads any text', () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom('[', ']', '=', ' ', '\n', '#', '"', 'a', 'profile') }), (text) => {
      for (const [name, profile] of parseProfiles(`${text}\n[known]\nx=y`)) {
        assert.ok(name.length <= text.length || name === 'known');
        if (name === 'known') assert.equal(profile.get('x'), 'y');
      }
    }),
  );
});

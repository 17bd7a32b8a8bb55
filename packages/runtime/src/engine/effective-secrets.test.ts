import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { SecretKind, StoredSecret } from '../secrets/stored-secret.ts';
import { findService } from '../services/catalogue.ts';
import { effectiveSecrets, visibleSecrets, type EffectiveInput } from './effective-secrets.ts';

const BOX = 'box';

/** `SCOPE/NAME` of a kind, with a variable of its own where that is not the name; the scope is empty for all sandboxes. */
function stored(path: string, kind: SecretKind = 'custom', env: string | null = null): StoredSecret {
  const [sandbox = '', name = ''] = path.split('/');
  return {
    scope: sandbox === '' ? { kind: 'global' } : { kind: 'sandbox', sandbox },
    name,
    kind,
    env: kind === 'service' ? null : (env ?? name),
    hosts: kind === 'custom' ? ['a.example'] : [],
    locations: kind === 'custom' ? ['header'] : [],
    methods: [],
    path: null,
    onViolation: 'pass',
    placeholder: null,
    source: { kind: 'value' },
    refreshMs: null,
    createdAt: 0,
    updatedAt: 0,
  };
}

/** What counts, as `SCOPE/NAME=VARIABLE,…`; `given/NAME` for a service whose value came with the sandbox. */
function decide(input: Partial<EffectiveInput>) {
  const { secrets, notices, refusals } = effectiveSecrets({
    sandbox: BOX,
    own: [],
    named: [],
    given: [],
    stored: [],
    plain: [],
    findService,
    ...input,
  });
  return {
    secrets: secrets.map((effective) => {
      const { secret } = effective;
      const scope = secret === null ? 'given' : secret.scope.kind === 'global' ? '' : secret.scope.sandbox;
      const variables = effective.kind === 'service' ? [...effective.variables] : [effective.env];
      return `${scope}/${effective.kind === 'service' ? effective.definition.name : effective.secret.name}=${variables.join(',')}`;
    }),
    notices,
    refusals: refusals.map(({ code }) => code),
  };
}

const named = (...specs: string[]): Pick<EffectiveInput, 'named'> => ({
  named: specs.map((spec) => {
    const [name = '', env = null] = spec.split(':');
    return { name, env };
  }),
});

test('effectiveSecrets() decides what counts, where, and what goes before what', () => {
  const A = stored('/A');
  const boxA = stored('box/A');
  const openai = stored('/openai', 'service');
  const boxOpenai = stored('box/openai', 'service');
  const plain = stored('/P', 'plain');
  const cases: readonly (readonly [what: string, input: Partial<EffectiveInput>, secrets: string[], more?: { notices?: RegExp; refusals?: string[] }])[] = [
    ['nothing', {}, []],
    ['a global one enters', { stored: [A, openai] }, ['/A=A', '/openai=OPENAI_API_KEY']],
    ['one of another sandbox does not', { stored: [stored('other/A'), stored('other/openai', 'service')] }, []],
    ['the sandbox goes before all', { stored: [A, boxA, openai, boxOpenai] }, ['box/A=A', 'box/openai=OPENAI_API_KEY']],
    ['in whatever order they are stored', { stored: [boxOpenai, boxA, openai, A] }, ['box/A=A', 'box/openai=OPENAI_API_KEY']],
    ['a name hides the same name of another kind', { stored: [A, stored('box/A', 'plain')] }, []],
    ['a plain one only by name', { stored: [plain] }, []],
    ['by name', { stored: [plain], ...named('P') }, ['/P=P']],
    ['by name, with a variable', { stored: [plain], ...named('P:X') }, ['/P=X']],
    ['a custom one by name', { stored: [A], ...named('A') }, ['/A=A']],
    ['its variable is the one asked for', { stored: [A], ...named('A:X') }, ['/A=X']],
    ['two variables of one secret', { stored: [A], ...named('A:X', 'A:Y', 'A:X') }, ['/A=X', '/A=Y']],
    ['by name, of the sandbox first', { stored: [A, boxA], ...named('A:X') }, ['box/A=X']],
    ['a service by name', { stored: [openai], ...named('openai') }, ['/openai=OPENAI_API_KEY']],
    ['a service with a further variable', { stored: [openai], ...named('openai:MY_KEY') }, ['/openai=MY_KEY,OPENAI_API_KEY']],
    ['nobody stored it', named('A'), [], { refusals: ['SECRET_NOT_FOUND'] }],
    ['only another sandbox has it', { stored: [stored('other/A')], ...named('A') }, [], { refusals: ['SECRET_NOT_FOUND'] }],
    ['a name that is no variable', { stored: [stored('/a.b', 'plain')], ...named('a.b') }, [], { refusals: ['INVALID_SECRET_SPEC'] }],
    ['a service of the environment', { given: ['openai'] }, ['given/openai=OPENAI_API_KEY']],
    ['what is stored goes before it', { given: ['openai', 'openai'], stored: [openai] }, ['/openai=OPENAI_API_KEY']],
    ['a service that nothing declares', { given: ['nobody'] }, [], { refusals: ['SERVICE_UNKNOWN'] }],
    ['stored, it is left out', { stored: [stored('/nobody', 'service')] }, [], { notices: /nobody.*nothing declares/ }],
    ['by name, it is refused', { stored: [stored('/nobody', 'service')], ...named('nobody') }, [], { refusals: ['SERVICE_UNKNOWN'] }],
    // One variable, two who want it.
    ['plain against stored', { plain: ['A'], stored: [A] }, [], { notices: /--env A has its variable A/ }],
    ['own against stored', { own: ['A'], stored: [A] }, [], { notices: /--secret A has its variable A/ }],
    ['plain against asked for', { plain: ['A'], stored: [A], ...named('A') }, [], { refusals: ['SECRET_CONFLICT'] }],
    ['own against asked for', { own: ['X'], stored: [A], ...named('A:X') }, [], { refusals: ['SECRET_CONFLICT'] }],
    ['two that were asked for', { stored: [A, stored('/B')], ...named('A:X', 'B:X') }, ['/A=X'], { refusals: ['SECRET_CONFLICT'] }],
    ['asked for against stored', { stored: [A, stored('/B')], ...named('B:A') }, ['/B=A'], { notices: /--secret B has its variable A/ }],
    ['plain against a service, which needs none', { plain: ['OPENAI_API_KEY'], stored: [openai] }, ['/openai=']],
    ['own against a service', { own: ['OPENAI_API_KEY'], stored: [openai] }, ['/openai=']],
    ['a further variable of a service against plain', { plain: ['X'], stored: [openai], ...named('openai:X') }, [], { refusals: ['SECRET_CONFLICT'] }],
    ['custom against a service', { stored: [stored('/K', 'custom', 'OPENAI_API_KEY'), openai] }, ['/K=OPENAI_API_KEY', '/openai=']],
    ['custom against a service of the sandbox', { stored: [stored('/K', 'custom', 'OPENAI_API_KEY'), boxOpenai] }, ['box/openai=OPENAI_API_KEY'], { notices: /K stored for all sandboxes.*the service openai/ }],
    ['custom against a service of the environment', { given: ['openai'], stored: [stored('/K', 'custom', 'OPENAI_API_KEY')] }, ['/K=OPENAI_API_KEY', 'given/openai=']],
    ['of the sandbox against global', { stored: [stored('/K', 'custom', 'V'), stored('box/Z', 'custom', 'V')] }, ['box/Z=V'], { notices: /K stored for all/ }],
    ['two of one scope: by name', { stored: [stored('/Z', 'custom', 'V'), stored('/K', 'custom', 'V')] }, ['/K=V'], { notices: /Z stored for all/ }],
  ]; // prettier-ignore
  for (const [what, input, secrets, { notices, refusals = [] } = {}] of cases) {
    const decided = decide(input);
    assert.deepEqual([decided.secrets, decided.refusals], [secrets, refusals], what);
    if (notices === undefined) assert.deepEqual(decided.notices, [], what);
    else assert.match(decided.notices.join('\n'), notices, what);
  }
});

const scope = fc.constantFrom('', BOX, 'other');
const secret = fc.record({
  scope,
  name: fc.constantFrom('A', 'B', 'openai', 'github', 'nobody', 'x.y'),
  kind: fc.constantFrom<SecretKind>('custom', 'service', 'plain'),
  env: fc.constantFrom(null, 'A', 'V', 'GH_TOKEN', 'OPENAI_API_KEY'),
});
const input = fc.record({
  own: fc.uniqueArray(fc.constantFrom('A', 'V', 'GITHUB_TOKEN'), { maxLength: 2 }),
  plain: fc.uniqueArray(fc.constantFrom('B', 'OPENAI_API_KEY'), { maxLength: 2 }),
  given: fc.array(fc.constantFrom('openai', 'anthropic', 'nobody'), { maxLength: 2 }),
  named: fc.array(
    fc.record({ name: fc.constantFrom('A', 'B', 'openai', 'none'), env: fc.constantFrom(null, 'V', 'W') }),
    { maxLength: 3 },
  ),
  stored: fc
    .uniqueArray(secret, { maxLength: 8, selector: (each) => `${each.scope}/${each.name}` })
    .map((all) => all.map(({ scope: sandbox, name, kind, env }) => stored(`${sandbox}/${name}`, kind, env))),
});

test('effectiveSecrets() gives no variable two meanings, hides nothing in silence, and knows no order', () => {
  fc.assert(
    fc.property(input, fc.nat(), (asked, seed) => {
      const whole: EffectiveInput = { sandbox: BOX, findService, ...asked };
      const { secrets, notices, refusals } = effectiveSecrets(whole);
      const taken: string[] = [...asked.own, ...asked.plain];
      const before = new Set(taken);
      for (const effective of secrets) {
        const variables = effective.kind === 'service' ? [...effective.variables] : [effective.env];
        for (const env of variables) {
          assert.ok(!before.has(env), `${env} has two meanings`);
          before.add(env);
        }
        assert.notEqual(effective.secret?.scope.kind === 'sandbox' && effective.secret.scope.sandbox, 'other');
      }
      const names = new Set(secrets.map(({ secret: each }) => each?.name));
      const isAsked = (name: string): boolean => asked.named.some((each) => each.name === name);
      for (const [name, each] of visibleSecrets(whole)) {
        if (names.has(name)) continue;
        const isTold = notices.some((text) => text.includes(name)) || (isAsked(name) && refusals.length > 0);
        assert.ok(isTold || each.kind === 'plain', `${name} is left out in silence`);
      }
      const shuffled = asked.stored.toSorted(
        (a, b) => ((a.name.length * 7 + seed) % 5) - ((b.name.length * 3 + seed) % 5),
      );
      assert.deepEqual(effectiveSecrets({ ...whole, stored: shuffled }).secrets, secrets);
    }),
  );
});

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { z } from 'zod';
import { describeApi, ENDPOINTS, sandboxCreateSchema } from './index.ts';
import type { Endpoint } from './index.ts';

const GOLDEN = new URL('../../openapi.json', import.meta.url);

test('describeApi() is what openapi.json holds; SALLYPORT_WRITE_GOLDEN=1 writes it', () => {
  const text = `${JSON.stringify(describeApi(), null, 2)}\n`;
  if (process.env['SALLYPORT_WRITE_GOLDEN'] === '1') writeFileSync(GOLDEN, text);
  assert.equal(text, readFileSync(GOLDEN, 'utf8'));
});

test('describeApi() refers only to schemas that it has', () => {
  const document = describeApi() as { components: { schemas: object } };
  const named = new Set(Object.keys(document.components.schemas));
  const references = [...JSON.stringify(document).matchAll(/"\$ref":"([^"]+)"/g)].map(([, target]) => target ?? '');
  assert.ok(references.length > 50);
  for (const target of references) assert.ok(named.has(target.replace('#/components/schemas/', '')), target);
});

test('ENDPOINTS have one operation for each method and path, below /v1', () => {
  const seen = new Set<string>();
  for (const { method, path, body } of Object.values(ENDPOINTS) as Endpoint[]) {
    const key = `${method} ${path.replaceAll(/\{[a-z]+\}/g, '{}')}`;
    assert.ok(!seen.has(key), key);
    seen.add(key);
    assert.match(path, /^\/v1\/[a-z{}./]+$/);
    if (method === 'GET' || method === 'DELETE') assert.equal(body, undefined, key);
  }
});

test('no answer of the API can carry the value of a secret', () => {
  for (const { response, path } of Object.values(ENDPOINTS) as Endpoint[]) {
    if (response.kind !== 'json' && response.kind !== 'events') continue;
    if (path === ENDPOINTS.getOpenApi.path) continue;
    assert.doesNotMatch(JSON.stringify(z.toJSONSchema(response.schema)), /"value"/, path);
  }
});

test('sandboxCreateSchema refuses names that are none, and says which field it is', () => {
  for (const name of ['', 'a/b', '..', 'Upper', 'a'.repeat(300), '🚀', '-a', 'a-', 'a b', 'a\u0000']) {
    const result = sandboxCreateSchema.safeParse({ name });
    assert.ok(!result.success, name);
    assert.deepEqual(result.error.issues[0]?.path, ['name']);
  }
  assert.ok(sandboxCreateSchema.safeParse({ name: 'worker-1' }).success);
  const unknown = sandboxCreateSchema.safeParse({ nmae: 'x' });
  assert.ok(!unknown.success);
});

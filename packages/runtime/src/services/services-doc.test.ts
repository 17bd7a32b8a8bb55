import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { SERVICES } from './catalogue.ts';
import type { Overwrite, ServiceDefinition, ServiceEndpoint } from './service.ts';

const PAGE = new URL('../../../../docs/services.md', import.meta.url);

const code = (text: string): string => `\`${text}\``;
const list = (texts: readonly string[]): string => (texts.length === 0 ? '–' : texts.map(code).join(' '));

function describeOverwrite(place: Overwrite): string {
  switch (place.kind) {
    case 'header':
      return code(`${place.name}: ${place.text.replace('{value}', 'VALUE')}`);
    case 'basic':
      return code(`authorization: Basic ${place.user}:VALUE`);
    case 'query':
      return code(`?${place.name}=VALUE`);
    case 'subprotocol':
      return `WebSocket subprotocol ${code(`${place.prefix}VALUE`)}`;
  }
}

function describeEndpoint({ hosts, paths = [], overwrite, strip, signer }: ServiceEndpoint): string[] {
  const where = list(hosts) + (paths.length === 0 ? '' : `, paths ${list(paths)}`);
  const written = signer === undefined ? overwrite.map(describeOverwrite).join('<br>') : 'a signature (SigV4)';
  return [where, written, list([...strip.headers, ...strip.query.map((name) => `?${name}`)])];
}

function describeService({ name, variables, endpoints }: ServiceDefinition): string[] {
  return endpoints.map((endpoint, index) => {
    const first = index === 0 ? [code(name), variables.map((variable) => code(variable.name)).join('<br>')] : ['', ''];
    return `| ${[...first, ...describeEndpoint(endpoint)].join(' | ')} |`;
  });
}

/** Puts what is generated between the comments of that name. */
function fill(text: string, name: string, lines: readonly string[]): string {
  const [start, end] = [`<!-- ${name} -->`, `<!-- /${name} -->`];
  const [from, to] = [text.indexOf(start), text.indexOf(end)];
  assert.ok(from >= 0 && to > from, `docs/services.md has lost its comment ${start}`);
  return `${text.slice(0, from + start.length)}\n\n${lines.join('\n')}\n\n${text.slice(to)}`;
}

test('docs/services.md is what SERVICES say; SALLYPORT_WRITE_GOLDEN=1 writes it', () => {
  const head = ['| service | variables | hosts | written | does not leave |', '| --- | --- | --- | --- | --- |'];
  const pages = SERVICES.map(
    ({ name, documentation }) => `- ${code(name)}: ${documentation.map((page) => `<${page}>`).join(', ')}`,
  );
  const found = readFileSync(PAGE, 'utf8');
  const text = fill(fill(found, 'table', [...head, ...SERVICES.flatMap(describeService)]), 'pages', pages);
  if (process.env['SALLYPORT_WRITE_GOLDEN'] === '1') writeFileSync(PAGE, text);
  assert.equal(readFileSync(PAGE, 'utf8'), text);
});

/**
 * The demonstration: four ordinary clients use a GitHub token that their sandboxes never hold.
 *
 * A local HTTPS server with an authority of its own stands for api.github.com and github.com; everything between it and the clients
 * is the product, run by its command line. The exit status is 0 only if every cell of the table is right.
 */
import { constants, copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { createScene, findPresentCaller } from '../e2e/harness/caller.ts';
import { findSightings, newCanary } from '../e2e/harness/canary.ts';
import { createAuthority } from '../e2e/harness/certificates.ts';
import type { TestAuthority } from '../e2e/harness/certificates.ts';
import { createGitRepository } from '../e2e/harness/git-backend.ts';
import { sallyport } from '../e2e/harness/sallyport.ts';
import { findHostNode } from '../e2e/harness/tools.ts';
import { startUpstream } from '../e2e/harness/upstream.ts';
import { receivedCredential } from '../e2e/harness/upstream-endpoints.ts';
import { API_HOST, GIT_HOST, UNLISTED_HOST, VARIABLE, listClients } from './demo/clients.ts';
import type { DemoClient } from './demo/clients.ts';
import { drawTable } from './demo/table.ts';
import { judge, listFaults } from './demo/verdict.ts';
import type { Verdict } from './demo/verdict.ts';

const REPOSITORY_PATH = '/octocat/hello-world.git';
const CLIENT_TIMEOUT_MS = 50_000;
const SECRET = `${VARIABLE}@${API_HOST},${GIT_HOST}`;

function section(stdout: string, name: string): string {
  const start = stdout.indexOf(`@@${name}\n`);
  if (start === -1) return '';
  const text = stdout.slice(start + name.length + 3);
  const end = text.indexOf('\n@@');
  return end === -1 ? text : text.slice(0, end);
}

function absent(client: DemoClient, missing: string): Verdict {
  const nothing = {
    held: '',
    environment: '',
    received: [],
    echoed: '',
    unlisted: '',
    leaks: [],
    watchedProcessCount: 0,
  };
  return judge({ client: client.name, failure: missing, ...nothing }, newCanary().value);
}

/** A Node that a sandbox may see: the host's, else a copy of the one that runs this. */
function provideNode(directory: string): string {
  const found = findHostNode();
  if (found !== undefined) return found;
  const copy = join(directory, 'node');
  copyFileSync(process.execPath, copy, constants.COPYFILE_FICLONE);
  return copy;
}

/** Runs one client in a sandbox of its own, with a credential and an upstream of its own, and judges what was seen. */
async function demonstrate(client: DemoClient, authority: TestAuthority): Promise<Verdict> {
  if (client.missing !== undefined) return absent(client, client.missing);
  const canary = newCanary();
  using repository = createGitRepository({ user: 'x-access-token', password: canary.value, path: REPOSITORY_PATH });
  await using upstream = await startUpstream({
    names: [API_HOST, GIT_HOST],
    authority,
    git: repository,
    handler: (request, response, recorded) => {
      if (request.url === '/user') {
        response.setHeader('content-type', 'application/json');
        response.end(JSON.stringify({ login: 'octocat', message: `you sent ${receivedCredential(recorded)}` }));
        return true;
      }
      if (request.url?.startsWith('/refuse') !== true) return false;
      // git shows the text of a refusal.
      if (request.headers.authorization === undefined) response.writeHead(401, { 'www-authenticate': 'Basic' }).end();
      else {
        response.writeHead(403, { 'content-type': 'text/plain' });
        response.end(`you sent ${receivedCredential(recorded)}\n`);
      }
      return true;
    },
  });
  using scene = createScene(findPresentCaller());
  const script = [
    'exec 2>&1',
    `echo @@held; echo "$${VARIABLE}"`,
    'echo @@environment; env',
    `echo @@echoed; ${client.echo}`,
    `echo; echo @@unlisted; ${client.unlisted}`,
    'echo; echo @@end; true',
  ].join('\n');
  const result = await sallyport(
    ['run', ...upstream.flags(), ...client.options, '--secret', SECRET, '--', 'sh', '-c', script],
    { scene, env: { [VARIABLE]: canary.value }, canary, timeoutMs: CLIENT_TIMEOUT_MS },
  );
  const leaks = findSightings(canary, {
    outputs: { 'standard output': result.stdoutBytes, 'standard error': result.stderr },
    files: [scene.root],
    processes: result.processes,
  });
  const ending = result.timedOut ? 'did not end in time' : `ended with status ${result.status ?? result.signal}`;
  return judge(
    {
      client: client.name,
      failure: result.status === 0 ? undefined : `${ending}: ${result.stderr.trim()}`,
      held: section(result.stdout, 'held'),
      environment: section(result.stdout, 'environment'),
      received: upstream.requests.map(receivedCredential).filter((value) => value !== ''),
      echoed: section(result.stdout, 'echoed'),
      unlisted: section(result.stdout, 'unlisted'),
      leaks: leaks.map(({ where, form }) => `${where} (${form})`),
      watchedProcessCount: result.watchedProcessCount,
    },
    canary.value,
  );
}

async function main(): Promise<number> {
  const startedAt = performance.now();
  using shared = createScene(findPresentCaller());
  const clients = listClients(REPOSITORY_PATH, provideNode(shared.assets));
  process.stdout.write(
    `Four clients use a GitHub token that their sandboxes never hold. Each is run by the command line:\n\n` +
      `  ${VARIABLE}=ghp_… ./sallyport run --secret ${SECRET} -- ${clients.map(({ name }) => name).join(' | ')}\n\n` +
      `A local HTTPS server with an authority of its own stands for ${API_HOST} and ${GIT_HOST}\n` +
      `(--resolve, --upstream-ca); ${UNLISTED_HOST} is a host that nobody allowed.\n\n`,
  );
  const authority = await createAuthority('Sallyport demonstration root');
  const verdicts = await Promise.all(clients.map((client) => demonstrate(client, authority)));
  process.stdout.write(`${drawTable(verdicts)}\n`);
  const faults = listFaults(verdicts);
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  if (faults.length > 0) {
    process.stdout.write(`\nNot as promised (${seconds} s):\n${faults.map((fault) => `  ✘ ${fault}\n`).join('')}`);
    return 1;
  }
  process.stdout.write(
    `\nAll as promised, in ${seconds} s. The real values were looked for, in every encoding, in the clients' output, the audit\n` +
      `logs, the state directories, the workspaces and the processes inside, and were not there.\n`,
  );
  return 0;
}

process.exitCode = await main();

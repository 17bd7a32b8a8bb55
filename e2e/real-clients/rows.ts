import { join } from 'node:path';
import { CACHE, INSIDE } from '../harness/client-cache.ts';
import { findHostNode } from '../harness/tools.ts';
import { GITHUB_HOST, HOST } from './upstream.ts';
import { GO, findRustToolchain, whyNoProgram } from './set-up.ts';
import type { Missing } from './set-up.ts';

/** What every row of the table has. */
interface Named {
  readonly name: string;
  /** Why it cannot be tried on this machine. */
  readonly skip?: string | undefined;
  /** Shell text, run in the sandbox, whose output has the version in it. */
  readonly version: string;
  /** Further options of `run`. */
  readonly options?: readonly string[];
  readonly note?: string;
}

/** A client of HTTP. Its shell texts send `$API_TOKEN` and may trust no CA by a flag. */
export interface HttpRow extends Named {
  readonly kind: 'http';
  readonly protocol: 'HTTP/1.1' | 'HTTP/2';
  /** Prints what the upstream says of the credential, `before … after`. */
  readonly reflect: string;
  /** Prints the body of `/stream` as it arrives, or acknowledges its first piece by itself; absent for clients without streams. */
  readonly stream?: string;
  /** Acknowledges the first piece itself, in its output of `reflect`. */
  readonly streamsByItself?: boolean;
  /** What a client that cannot work prints, and why it cannot. */
  readonly limitation?: { readonly prints: RegExp; readonly because: string };
}

/** A gRPC client; `command` makes the calls of the table and prints what came of each. */
export interface GrpcRow extends Named {
  readonly kind: 'grpc';
  readonly command: string;
}

/** A WebSocket client; `command` holds the conversation of `websocket-client.mjs`. */
export interface WebSocketRow extends Named {
  readonly kind: 'websocket';
  readonly command: string;
}

export type Row = HttpRow | GrpcRow | WebSocketRow;

/** The gRPC service's name. */
export const GRPC_HOST = 'grpc.test.example';

const REFLECT_URL = `https://${HOST}/reflect?as=raw&where=both`;
const STREAM_URL = `https://${HOST}/stream`;
const SEND_BEARER = '-H "Authorization: Bearer $API_TOKEN"';
const PACKAGES_ONLY = 'fetches whole files only';

const node = findHostNode();
const nodeOptions = node === undefined || node.startsWith('/usr/') ? [] : ['-v', `${join(node, '..')}:/node:ro`];
const runNode = nodeOptions.length === 0 ? 'node' : '/node/node';
const NPM = `${INSIDE}/npm`;
const PYTHON = `PYTHONPATH=${INSIDE}/python /usr/bin/python3`;
const DENO = `${NPM}/node_modules/@deno/linux-${process.arch}-glibc/deno`;
const BUN = `${NPM}/node_modules/@oven/bun-linux-${process.arch === 'arm64' ? 'aarch64' : process.arch}/bin/bun`;
const DOTNET = `LD_LIBRARY_PATH=${INSIDE}/dotnet/psycopg2_binary.libs ${INSIDE}/dotnet/dotnetcore2/bin/dotnet`;
const CHROMIUM =
  'chromium --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --user-data-dir="$HOME/profile"' +
  ' --disable-background-networking --disable-component-update --disable-sync';

const versionOfNpm = (name: string): string =>
  `${runNode} -p 'JSON.parse(require("fs").readFileSync("${NPM}/node_modules/${name}/package.json", "utf8")).version'`;
const versionOfPython = (name: string): string =>
  `${PYTHON} -c 'from importlib.metadata import version; print(version("${name}"))'`;
const versionOfFile = (pattern: string, file: string): string => `sed -n '${pattern}' ${INSIDE}/${file} | head -n 1`;

/** A client that is one command with the URL at its end. */
function requesting(
  row: Omit<HttpRow, 'kind' | 'reflect' | 'stream'> & { readonly command: (url: string) => string },
): HttpRow {
  const { command, ...rest } = row;
  return { ...rest, kind: 'http', reflect: command(REFLECT_URL), stream: command(STREAM_URL) };
}

function onNode(name: string, library: string, packageName: string | undefined, missing: Missing): HttpRow {
  const isHttp2 = library.endsWith('-h2');
  return requesting({
    name: `${name}${isHttp2 ? ', HTTP/2' : ''}`,
    skip: missing.npm ?? (node === undefined ? 'no Node beside the one of the checkout' : undefined),
    options: nodeOptions,
    version: packageName === undefined ? `${runNode} --version` : versionOfNpm(packageName),
    protocol: isHttp2 ? 'HTTP/2' : 'HTTP/1.1',
    command: (url) => `${runNode} ${NPM}/http-client.mjs ${library} '${url}'`,
  });
}

function onPython(name: string, library: string, packageName: string | undefined, missing: Missing): HttpRow {
  const isHttp2 = library.endsWith('-h2');
  return requesting({
    name: `${name}${isHttp2 ? ', HTTP/2' : ''}`,
    skip: missing.python,
    version: packageName === undefined ? '/usr/bin/python3 --version' : versionOfPython(packageName),
    protocol: isHttp2 ? 'HTTP/2' : 'HTTP/1.1',
    command: (url) => `${PYTHON} ${INSIDE}/programs/http_client.py ${library} '${url}'`,
  });
}

function inRust(name: string, library: string, crate: string, missing: Missing): Omit<HttpRow, 'protocol'> {
  return requesting({
    name,
    skip: missing.rust,
    version: versionOfFile(`/^name = "${crate}"/{n;p}`, 'rust/Cargo.lock'),
    protocol: 'HTTP/2',
    command: (url) => `${INSIDE}/rust/target/release/real-client ${library} '${url}'`,
  });
}

function inDotnet(name: string, protocol: HttpRow['protocol'], missing: Missing): HttpRow {
  return requesting({
    name,
    skip: missing.dotnet,
    version: `${DOTNET} --list-runtimes`,
    protocol,
    command: (url) =>
      `${DOTNET} ${INSIDE}/dotnet/HttpClientProgram.dll '${url}' ${protocol === 'HTTP/2' ? '2.0' : '1.1'}`,
    note: 'its runtime and OpenSSL 1.1 from PyPI',
  });
}

function commandLineRows(): HttpRow[] {
  const curl = { skip: whyNoProgram('curl'), version: 'curl --version' };
  return [
    requesting({
      name: 'curl',
      ...curl,
      protocol: 'HTTP/1.1',
      command: (url) => `curl -sS -i -N --http1.1 ${SEND_BEARER} '${url}'`,
    }),
    requesting({
      name: 'curl, HTTP/2',
      ...curl,
      protocol: 'HTTP/2',
      command: (url) => `curl -sS -i -N ${SEND_BEARER} '${url}'`,
    }),
    requesting({
      name: 'wget',
      skip: whyNoProgram('wget'),
      version: 'wget --version',
      protocol: 'HTTP/1.1',
      command: (url) => `wget -q -S -O - --header="Authorization: Bearer $API_TOKEN" '${url}'`,
    }),
    {
      kind: 'http',
      name: 'git',
      skip: whyNoProgram('git'),
      version: 'git --version',
      protocol: 'HTTP/2',
      reflect:
        `git clone -q "https://someone:$API_TOKEN@${HOST}/git/repository.git" copy && cat copy/hello.txt; ` +
        `git ls-remote "https://someone:$API_TOKEN@${HOST}/refuse/x.git"`,
      note: 'Basic; clone, and a refusal that it shows',
    },
    {
      kind: 'http',
      name: 'gh',
      skip: whyNoProgram('gh'),
      version: 'gh --version',
      protocol: 'HTTP/2',
      reflect: 'GH_TOKEN=$API_TOKEN gh api -i "reflect?as=raw&where=both"',
      stream: 'GH_TOKEN=$API_TOKEN gh api stream',
      note: `\`gh api\` on ${GITHUB_HOST}`,
    },
  ];
}

function packageManagerRows(missing: Missing): HttpRow[] {
  const rust = findRustToolchain();
  const goSkip = GO?.startsWith('/usr/') === true ? undefined : 'no Go toolchain below /usr';
  const cargo = 'PATH=/rust/bin:$PATH CARGO_HOME=$HOME/cargo cargo';
  return [
    {
      kind: 'http',
      name: 'npm',
      skip: missing.npm ?? (node === undefined ? 'no Node beside the one of the checkout' : undefined),
      options: nodeOptions,
      version: versionOfNpm('npm'),
      protocol: 'HTTP/1.1',
      reflect:
        `printf '%s\\n' "registry=https://${HOST}/npm/" '//${HOST}/npm/:_authToken=\${API_TOKEN}' >"$HOME/.npmrc"; ` +
        `${runNode} ${NPM}/node_modules/npm/bin/npm-cli.js view thing description`,
      note: `\`npm view\` with a token in .npmrc; ${PACKAGES_ONLY}`,
    },
    {
      kind: 'http',
      name: 'pip',
      skip: missing.python,
      version: versionOfPython('pip'),
      protocol: 'HTTP/1.1',
      reflect:
        `${PYTHON} -m pip download --no-deps --no-cache-dir -d "$HOME/wheels" ` +
        `--index-url "https://someone:$API_TOKEN@${HOST}/simple/" thing==1.0.0 && ls "$HOME/wheels"`,
      note: `\`pip download\` with Basic in the index's URL; ${PACKAGES_ONLY}`,
    },
    {
      kind: 'http',
      name: 'cargo',
      skip: rust === undefined ? 'no Rust toolchain (rustc and cargo in PATH)' : undefined,
      options: rust === undefined ? [] : ['-v', `${rust}:/rust:ro`],
      version: `${cargo} --version`,
      protocol: 'HTTP/2',
      reflect:
        `export CARGO_REGISTRIES_HERE_INDEX=sparse+https://${HOST}/cargo/ CARGO_REGISTRIES_HERE_CREDENTIAL_PROVIDER=cargo:token; ` +
        'export CARGO_REGISTRIES_HERE_TOKEN="Bearer $API_TOKEN"; mkdir -p crate/src; : >crate/src/lib.rs; ' +
        `printf '%s\\n' '[package]' 'name = "user"' 'version = "0.0.0"' '[dependencies]' ` +
        `'thing = { version = "1", registry = "here" }' >crate/Cargo.toml; ` +
        `(cd crate && ${cargo} fetch) && ${cargo} search --registry here thing`,
      note: `fetch and search with a private registry's token; ${PACKAGES_ONLY}`,
    },
    {
      kind: 'http',
      name: 'go (modules)',
      skip: goSkip,
      version: 'PATH=$PATH:/usr/local/go/bin go version',
      protocol: 'HTTP/2',
      reflect:
        `export PATH=$PATH:/usr/local/go/bin GOPROXY="https://someone:$API_TOKEN@${HOST}/go" GOSUMDB=off GOTOOLCHAIN=local ` +
        'GOFLAGS=-modcacherw; go mod download -json thing.example/thing@v1.0.0 && ' +
        '! go mod download none.example/none@v1.0.0',
      note: `\`go mod download\` with Basic in GOPROXY; ${PACKAGES_ONLY}`,
    },
  ];
}

function compiledRows(missing: Missing): HttpRow[] {
  return [
    requesting({
      name: 'Go net/http',
      skip: missing.go,
      version: `strings ${INSIDE}/go/go-http-client | grep -m1 -o '^go1[.][0-9.]*'`,
      protocol: 'HTTP/2',
      command: (url) => `${INSIDE}/go/go-http-client '${url}'`,
    }),
    { ...inRust('Rust reqwest (rustls, native roots)', 'reqwest', 'reqwest', missing), protocol: 'HTTP/2' },
    { ...inRust('Rust ureq (rustls, native roots)', 'ureq', 'ureq', missing), protocol: 'HTTP/1.1' },
    {
      ...inRust('Rust reqwest (rustls, webpki-roots)', 'reqwest-webpki', 'reqwest', missing),
      protocol: 'HTTP/2',
      limitation: {
        prints: /UnknownIssuer/,
        because: 'its roots are compiled in, so nothing outside of the program can add one; build it with native roots',
      },
    },
    requesting({
      name: 'Java HttpClient',
      skip: whyNoProgram('java') ?? missing.java,
      version: 'java -version',
      protocol: 'HTTP/2',
      command: (url) => `java -cp ${INSIDE}/java HttpClientProgram '${url}'`,
    }),
    inDotnet('.NET HttpClient', 'HTTP/1.1', missing),
    inDotnet('.NET HttpClient, HTTP/2', 'HTTP/2', missing),
  ];
}

function scriptRows(missing: Missing): HttpRow[] {
  return [
    onNode('Node fetch', 'fetch', undefined, missing),
    onNode('undici', 'undici-h1', 'undici', missing),
    onNode('undici', 'undici-h2', 'undici', missing),
    onNode('axios', 'axios-h1', 'axios', missing),
    onNode('axios', 'axios-h2', 'axios', missing),
    onNode('got', 'got-h1', 'got', missing),
    onNode('got', 'got-h2', 'got', missing),
    onPython('Python urllib', 'urllib', undefined, missing),
    onPython('Python requests', 'requests', 'requests', missing),
    onPython('Python httpx', 'httpx-h1', 'httpx', missing),
    onPython('Python httpx', 'httpx-h2', 'httpx', missing),
    onPython('Python aiohttp', 'aiohttp', 'aiohttp', missing),
    requesting({
      name: 'Ruby Net::HTTP',
      skip: whyNoProgram('ruby'),
      version: 'ruby --version',
      protocol: 'HTTP/1.1',
      command: (url) => `ruby ${INSIDE}/programs/http_client.rb '${url}'`,
    }),
    requesting({
      name: 'PHP curl',
      skip: whyNoProgram('php'),
      version: 'php --version',
      protocol: 'HTTP/2',
      command: (url) => `php ${INSIDE}/programs/http-client.php curl '${url}'`,
    }),
    requesting({
      name: 'PHP streams',
      skip: whyNoProgram('php'),
      version: 'php --version',
      protocol: 'HTTP/1.1',
      command: (url) => `php ${INSIDE}/programs/http-client.php stream '${url}'`,
    }),
    requesting({
      name: 'Deno fetch',
      skip: missing.npm,
      version: `DENO_DIR=$HOME/deno DENO_NO_UPDATE_CHECK=1 ${DENO} --version`,
      protocol: 'HTTP/2',
      command: (url) =>
        `DENO_DIR=$HOME/deno DENO_NO_UPDATE_CHECK=1 ${DENO} run --quiet --no-config --allow-net --allow-env ${INSIDE}/programs/http-client.mjs fetch '${url}'`,
    }),
    requesting({
      name: 'Bun fetch',
      skip: missing.npm,
      version: `${BUN} --version`,
      protocol: 'HTTP/1.1',
      command: (url) => `${BUN} ${INSIDE}/programs/http-client.mjs fetch '${url}'`,
    }),
    {
      kind: 'http',
      name: 'Chromium, headless',
      skip: whyNoProgram('chromium'),
      version: 'chromium --version 2>/dev/null',
      protocol: 'HTTP/2',
      reflect: `${CHROMIUM} --dump-dom "https://${HOST}/page#$API_TOKEN" 2>"$HOME/chromium.log" || tail -n 20 "$HOME/chromium.log"`,
      streamsByItself: true,
      note: '`fetch` in a page, with `--no-sandbox`; the CA by a managed policy',
    },
  ];
}

/** Every row, in the table's order. */
export function listRows(missing: Missing): Row[] {
  return [
    ...commandLineRows(),
    ...packageManagerRows(missing),
    ...scriptRows(missing),
    ...compiledRows(missing),
    {
      kind: 'grpc',
      name: '@grpc/grpc-js',
      skip: missing.npm ?? (node === undefined ? 'no Node beside the one of the checkout' : undefined),
      options: nodeOptions,
      version: versionOfNpm('@grpc/grpc-js'),
      command: `${runNode} ${NPM}/grpc-js.mjs ${GRPC_HOST}:443`,
    },
    {
      kind: 'grpc',
      name: 'Python grpcio',
      skip: missing.npm ?? missing.python,
      version: versionOfPython('grpcio'),
      command: `${PYTHON} ${INSIDE}/programs/grpc_client.py ${GRPC_HOST}:443`,
    },
    {
      kind: 'grpc',
      name: 'grpc-go',
      skip: missing.npm ?? missing.go,
      version: versionOfFile('s/^require google.golang.org.grpc v//p', 'programs/go-grpc/go.mod'),
      command: `${INSIDE}/go/go-grpc-client ${GRPC_HOST}:443`,
    },
    {
      kind: 'websocket',
      name: 'ws',
      skip: missing.npm ?? (node === undefined ? 'no Node beside the one of the checkout' : undefined),
      options: nodeOptions,
      version: versionOfNpm('ws'),
      command: `${runNode} ${NPM}/websocket-client.mjs wss://${HOST}/socket`,
    },
    {
      kind: 'websocket',
      name: 'Python websockets',
      skip: missing.npm ?? missing.python,
      version: versionOfPython('websockets'),
      command: `${PYTHON} ${INSIDE}/programs/websocket_client.py wss://${HOST}/socket`,
    },
  ];
}

/** Options of every run: where the sandbox finds the clients. */
export const CLIENT_OPTIONS: readonly string[] = ['-v', `${CACHE}:${INSIDE}:ro`];

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { findProgram } from '../../e2e/harness/tools.ts';
import type { GateKind } from './gate.ts';
import { CREDENTIAL, endProcess, findFreePort, HOSTS } from './lab.ts';
import type { Lab } from './lab.ts';
import { familyOf } from './processes.ts';
import { CONNECT_VIA_LIBRARY } from './setup.ts';

const CERTIFICATE_PROGRAM = '/usr/lib/squid/security_file_certgen';
/** What squid calls itself where root starts it. */
const SQUID_ACCOUNT = 'proxy';

/** Squid with ssl-bump: clients CONNECT through it, it makes certificates by itself and replaces the header. */
export const SQUID: GateKind = {
  name: 'squid',
  missing: () => {
    if (findProgram('squid') === undefined) return 'squid is not installed';
    return existsSync(CERTIFICATE_PROGRAM) ? undefined : 'this squid has no ssl-bump (Debian: squid-openssl)';
  },
  version: () => /Version (\S+)/.exec(execFileSync('squid', ['-v'], { encoding: 'utf8' }))?.[1] ?? '',
  async open(lab) {
    const port = await findFreePort();
    const directory = lab.path(`squid-${port}`);
    mkdirSync(directory);
    makeAuthority(directory);
    execFileSync(CERTIFICATE_PROGRAM, ['-c', '-s', `${directory}/certificates`, '-M', '4MB'], { stdio: 'ignore' });
    writeFileSync(`${directory}/squid.conf`, configuration(lab, directory, port));
    if (process.geteuid?.() === 0) execFileSync('chown', ['-R', SQUID_ACCOUNT, directory]);
    const child = await lab.serve(lab.cores.gate, ['squid', '-N', '-f', `${directory}/squid.conf`], port);
    const variables = {
      LD_PRELOAD: `./${CONNECT_VIA_LIBRARY}`,
      CONNECT_VIA: String(port),
      CONNECT_HOST: HOSTS.api,
      CONNECT_PORT: String(lab.upstreamPort),
    };
    return {
      origin: (service) =>
        service === 'api' || service === 'upload' ? `https://${HOSTS.api}:${lab.upstreamPort}` : undefined,
      prefix: `${Object.entries(variables)
        .map(([name, value]) => `${name}=${value}`)
        .join(' ')} `,
      client: lab.host,
      processes: () => familyOf(child.pid ?? 0),
      close: async () => endProcess(child),
    };
  },
};

function makeAuthority(directory: string): void {
  const subject = ['-subj', '/CN=Benchmark squid', '-days', '30'];
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-keyout', `${directory}/ca.key`];
  execFileSync('openssl', ['req', '-x509', '-nodes', ...key, '-out', `${directory}/ca.pem`, ...subject], {
    stdio: 'ignore',
  });
}

function configuration(lab: Lab, directory: string, port: number): string {
  return `
http_port 127.0.0.1:${port} ssl-bump tls-cert=${directory}/ca.pem tls-key=${directory}/ca.key generate-host-certificates=on dynamic_cert_mem_cache_size=4MB
sslcrtd_program ${CERTIFICATE_PROGRAM} -s ${directory}/certificates -M 4MB
sslcrtd_children 2
acl step1 at_step SslBump1
ssl_bump peek step1
ssl_bump bump all
tls_outgoing_options cafile=${lab.caFile}
http_access allow all
request_header_access Authorization deny all
request_header_replace Authorization Bearer ${CREDENTIAL}
hosts_file ${lab.path('hosts')}
visible_hostname bench
cache deny all
access_log none
cache_log ${directory}/cache.log
cache_store_log none
netdb_filename none
pid_filename ${directory}/squid.pid
coredump_dir ${directory}
pinger_enable off
max_filedescriptors 16384
shutdown_lifetime 0 seconds
`;
}

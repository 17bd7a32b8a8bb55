import { matchesName, namesOverlap, type HostPattern } from './host-pattern.ts';

/**
 * Hosts where anybody can store or read something under the same name, so that a credential sent there, or a value
 * reflected there, may reach a stranger. Canonical names.
 */
const SHARED_HOSTS: readonly string[] = [
  '0x0.st',
  'api.telegra.ph',
  'content.dropboxapi.com',
  'docs.google.com',
  'dpaste.com',
  'dpaste.org',
  'drive.google.com',
  'file.io',
  'gist.github.com',
  'gist.githubusercontent.com',
  'hastebin.com',
  'httpbin.org',
  'ix.io',
  'objects.githubusercontent.com',
  'paste.debian.net',
  'paste.ee',
  'paste.rs',
  'pastebin.com',
  'raw.githubusercontent.com',
  'requestbin.com',
  'rentry.co',
  's3.amazonaws.com',
  'sprunge.us',
  'storage.cloud.google.com',
  'storage.googleapis.com',
  'transfer.sh',
  'user-images.githubusercontent.com',
  'webhook.site',
];

/** Suffixes below which each name is another customer's: one name is fine, a wildcard that reaches several is not. */
const SHARED_SUFFIXES: readonly string[] = [
  'amazonaws.com',
  'appspot.com',
  'azureedge.net',
  'azurewebsites.net',
  'backblazeb2.com',
  'blob.core.windows.net',
  'cloudfront.net',
  'cloudfunctions.net',
  'digitaloceanspaces.com',
  'fly.dev',
  'github.io',
  'githubusercontent.com',
  'gitlab.io',
  'herokuapp.com',
  'netlify.app',
  'ngrok-free.app',
  'ngrok.app',
  'ngrok.io',
  'pages.dev',
  'pipedream.net',
  'r2.cloudflarestorage.com',
  'r2.dev',
  'run.app',
  'storage.googleapis.com',
  'supabase.co',
  'trycloudflare.com',
  'vercel.app',
  'wasabisys.com',
  'web.app',
  'workers.dev',
];

/** `s3.eu-west-1.amazonaws.com`, `s3-eu-west-1.…`, `s3.dualstack.…`: every bucket of a region, by path. */
function isRegionalObjectStore(host: string): boolean {
  if (!host.endsWith('.amazonaws.com') && !host.endsWith('.amazonaws.com.cn')) return false;
  return host.startsWith('s3.') || host.startsWith('s3-');
}

/** Says in a sentence why a secret's host may be shared with strangers, or null. Advice, not a boundary: the list is never complete. */
export function warnOfSharedHost(pattern: HostPattern): string | null {
  switch (pattern.kind) {
    case 'exact':
      return SHARED_HOSTS.includes(pattern.host) || isRegionalObjectStore(pattern.host)
        ? `${pattern.text} serves many tenants under one name: anybody's content there can ask for the secret or keep it`
        : null;
    case 'child':
    case 'descendant':
      return warnOfSharedWildcard(pattern);
    case 'any':
    case 'network':
      return null;
  }
}

function warnOfSharedWildcard(pattern: HostPattern & { readonly suffix: string }): string | null {
  if (pattern.warning !== undefined) return pattern.warning;
  const host = SHARED_HOSTS.find((name) => matchesName(pattern, name));
  if (host !== undefined) return `${pattern.text} covers ${host}, which serves many tenants under one name`;
  const suffix = SHARED_SUFFIXES.find(
    (name) => pattern.suffix === name || namesOverlap(pattern, { kind: 'descendant', suffix: name, text: '' }),
  );
  // Below one customer's own name (`*.bucket.s3.amazonaws.com`) the tenants end; only the suffix itself or above counts.
  if (suffix === undefined || pattern.suffix.endsWith(`.${suffix}`)) return null;
  return `${pattern.text} covers names below ${suffix}, which belong to different customers of one service`;
}

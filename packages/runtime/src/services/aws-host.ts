import { AWS_ACCOUNT_ENDPOINTS, AWS_ENDPOINT_NAMES, S3_ENDPOINTS } from './aws-endpoint-names.ts';

/** What the Credential of a signature of AWS is for: `ID/DATE/REGION/SERVICE/aws4_request`. */
export interface CredentialScope {
  readonly accessKeyId: string;
  readonly region: string;
  readonly service: string;
}

/** What requests to a host are signed for. */
export interface AwsEndpoint {
  readonly service: string;
  readonly region: string;
  /** S3 signs paths as they are sent; everything else normalizes and encodes them once more. */
  readonly isS3: boolean;
}

export type AwsHostVerdict =
  | { readonly verdict: 'ok'; readonly endpoint: AwsEndpoint }
  /** `reason` follows the host's name in a sentence. */
  | { readonly verdict: 'refused'; readonly reason: string };

interface Domain {
  readonly suffix: string;
  /** How the names of its regions begin, where that tells them from those of other partitions. */
  readonly regionPrefix: string | null;
  /** What endpoints without a region are signed for. */
  readonly globalRegion: string;
}

/** Longer ones first where one ends in another. */
const DOMAINS: readonly Domain[] = [
  { suffix: '.amazonaws.com.cn', regionPrefix: 'cn-', globalRegion: 'cn-northwest-1' },
  { suffix: '.api.amazonwebservices.com.cn', regionPrefix: 'cn-', globalRegion: 'cn-northwest-1' },
  { suffix: '.amazonaws.eu', regionPrefix: 'eusc-', globalRegion: 'eusc-de-east-1' },
  { suffix: '.api.amazonwebservices.eu', regionPrefix: 'eusc-', globalRegion: 'eusc-de-east-1' },
  { suffix: '.amazonaws.com', regionPrefix: null, globalRegion: 'us-east-1' },
  { suffix: '.api.aws', regionPrefix: null, globalRegion: 'us-east-1' },
];

const MAX_SCOPE_CHARACTERS = 64;

/**
 * What a request to a host is signed for.
 *
 * The host decides. The client's own scope is asked only for what the name leaves open: the region of an endpoint without one, and the
 * service of an endpoint that is not in the table, as far as its name begins or ends like it (`stream-logs`: `logs`). Hosts of AWS's
 * customers (`execute-api`, load balancers, instances, …) are refused, because whoever runs them would see the session token, and so is
 * whatever AWS is not known to sign for.
 *
 * @param host canonical.
 * @param scope of the client's own signature, where it has one.
 */
export function readAwsHost(host: string, scope: CredentialScope | null): AwsHostVerdict {
  const domain = DOMAINS.find(({ suffix }) => host.endsWith(suffix));
  if (domain === undefined) return refused('is not a host of AWS that requests are signed for');
  const labels = host
    .slice(0, -domain.suffix.length)
    .split('.')
    .filter((label) => label !== 'fips');
  const named = takeRegion(labels);
  if (labels.at(-1) === 'dualstack') labels.pop();
  const region = named ?? (scope !== null && isRegionOf(domain, scope.region) ? scope.region : null);
  const last = withoutFips(labels.at(-1) ?? '');
  const rest = labels.slice(0, -1);

  if (last.startsWith('s3-') || last.startsWith('s3express') || last === 's3') {
    return readS3Host(last, named, region, domain);
  }
  const endpoint = (service: string): AwsHostVerdict => ({
    verdict: 'ok',
    endpoint: { service, region: region ?? domain.globalRegion, isS3: false },
  });
  const name = [...rest.map(withoutFips), last].join('.');
  const known = AWS_ENDPOINT_NAMES.get(name);
  if (known !== undefined) return endpoint(known);
  const [account] = rest;
  const ofAccount = AWS_ACCOUNT_ENDPOINTS.get(last);
  if (ofAccount !== undefined && rest.length === 1 && isAccountNumber(account)) return endpoint(ofAccount);
  if (rest.length > 0 || !isScopePart(last)) {
    return refused("is not one of the hosts of AWS's own services that requests are signed for");
  }
  return endpoint(scope !== null && isPartOfName(scope.service, last) ? scope.service : last);
}

/** Takes the region off the end of the labels; null where there is none. `us-east-1.queue` has it in front. */
function takeRegion(labels: string[]): string | null {
  const last = labels.at(-1) ?? '';
  if (isRegion(last)) return labels.pop() ?? null;
  if (last === 'global' && labels.length > 1) {
    labels.pop();
    return null;
  }
  if (last === 'us-gov' && labels.length > 1) {
    labels.pop();
    return 'us-gov-west-1';
  }
  const [first = ''] = labels;
  if (last === 'queue' && labels.length === 2 && isRegion(first)) return labels.shift() ?? null;
  return null;
}

/** @param named the region in the host's name. @param region that, or the client's. */
function readS3Host(last: string, named: string | null, region: string | null, domain: Domain): AwsHostVerdict {
  const endpoint = (service: string, where: string): AwsHostVerdict => ({
    verdict: 'ok',
    endpoint: { service, region: where, isS3: true },
  });
  // `s3-us-west-2` is how S3 wrote `s3.us-west-2` once.
  if (named === null && last.startsWith('s3-')) {
    const dashed = last.slice('s3-'.length);
    if (isRegion(dashed)) return endpoint('s3', dashed);
    if (dashed === 'external-1') return endpoint('s3', 'us-east-1');
  }
  const service = S3_ENDPOINTS.get(last);
  if (service === undefined) {
    return refused('is an endpoint of S3 whose signatures are of another kind (S3 Express, multi-region, websites)');
  }
  if (last === 's3') return endpoint(service, region ?? domain.globalRegion);
  const where = last === 's3-accelerate' ? region : named;
  if (where === null) return refused("does not name its region, and no signature of the client's does");
  return endpoint(service, where);
}

function isRegionOf({ regionPrefix }: Domain, region: string): boolean {
  if (!isRegion(region)) return false;
  if (regionPrefix !== null) return region.startsWith(regionPrefix);
  return !region.startsWith('cn-') && !region.startsWith('eusc-');
}

/** `us-east-1`, `us-gov-west-1`, `ap-southeast-7`: words of letters and a number. */
function isRegion(label: string): boolean {
  const words = label.split('-');
  const number = words.pop() ?? '';
  const [area = ''] = words;
  return (
    (area.length === 2 || area === 'eusc') &&
    (words.length === 2 || words.length === 3) &&
    words.every((word) => /^[a-z]+$/.test(word)) &&
    /^\d{1,2}$/.test(number)
  );
}

function isAccountNumber(label: string | undefined): boolean {
  return label !== undefined && /^\d{12}$/.test(label);
}

function isScopePart(text: string): boolean {
  return text.length <= MAX_SCOPE_CHARACTERS && /^[A-Za-z0-9-]+$/.test(text);
}

/** Whether a signing name is an endpoint's name, or the first or last words of it. */
function isPartOfName(service: string, name: string): boolean {
  return isScopePart(service) && (name === service || name.startsWith(`${service}-`) || name.endsWith(`-${service}`));
}

function withoutFips(label: string): string {
  return label.endsWith('-fips') ? label.slice(0, -'-fips'.length) : label;
}

function refused(reason: string): AwsHostVerdict {
  return { verdict: 'refused', reason };
}

/**
 * The scope that a client's `Authorization` is for; null for another scheme than `AWS4-HMAC-SHA256`, and for what cannot be read.
 */
export function readCredentialScope(authorization: string): CredentialScope | null {
  const scheme = 'AWS4-HMAC-SHA256';
  if (!authorization.startsWith(scheme)) return null;
  for (const part of authorization.slice(scheme.length).split(',')) {
    const [name, value] = splitOnce(part.trim(), '=');
    if (name === 'Credential') return parseCredentialScope(value);
  }
  return null;
}

/** Reads `ID/DATE/REGION/SERVICE/aws4_request`; null where it is something else. */
export function parseCredentialScope(text: string): CredentialScope | null {
  const parts = text.split('/');
  const [end, service, region, date, ...id] = parts.toReversed();
  if (end !== 'aws4_request' || service === undefined || region === undefined || date === undefined) return null;
  if (id.length === 0) return null;
  return { accessKeyId: id.toReversed().join('/'), region, service };
}

function splitOnce(text: string, separator: string): readonly [string, string] {
  const at = text.indexOf(separator);
  return at === -1 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
}

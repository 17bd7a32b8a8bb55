import type { BoundService } from '../secrets/bound-service.ts';
import { AwsSigner } from '../services/aws-signer.ts';
import type { RequestSigner } from '../services/request-signer.ts';
import { AwsHash } from '../sources/aws-hash.ts';

/** Fails closed: what is not signed must not go out as if it were. */
const REFUSING_SIGNER: RequestSigner = {
  plan: () => ({
    kind: 'refused',
    detail: 'Requests to this service are signed, and its keys are not of the kind that signs them.',
  }),
  sign: async () => ({ verdict: 'refused', detail: 'The keys of this service sign nothing.' }),
};

const signers = new WeakMap<BoundService, RequestSigner>();

/** Who signs the requests to a service whose endpoints ask for it, with the credential that it has. The same one on repetition. */
export function signerFor(service: BoundService): RequestSigner {
  const known = signers.get(service);
  if (known !== undefined) return known;
  const { credential, sentinels } = service;
  const signer =
    credential?.kind === 'aws'
      ? new AwsSigner({ ...credential, sentinelAccessKeyId: sentinels.get('AWS_ACCESS_KEY_ID') ?? null, hash: AwsHash })
      : REFUSING_SIGNER;
  signers.set(service, signer);
  return signer;
}

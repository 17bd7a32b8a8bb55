// Secrets and network rules that change while a sandbox runs: each holds for the next request, without a restart.
import { Sandbox, Secret } from 'sallyport';

await using sandbox = await Sandbox.create();
const status = async (): Promise<string> => {
  const script = `curl -sS -o /dev/null -w '%{http_code}' -H "X-Api-Key: $API_KEY" https://api.example.com/`;
  return (await sandbox.shell(script)).stdout;
};

console.log('nothing is allowed:', await status());
await sandbox.secrets.set(Secret.env('API_KEY', { value: 'the-first-api-key', allowHosts: ['api.example.com'] }));
console.log('with a secret for that host:', await status());
await sandbox.secrets.set('API_KEY', { value: 'the-second-api-key' });
console.log('with another value:', await status());
await sandbox.policy.deny('api.example.com');
console.log('denied:', await status());
for await (const { type, detail } of sandbox.events()) {
  if (type.startsWith('secret.') || type.startsWith('policy.')) console.log('-', type, detail);
}

// A token that the code in the sandbox uses and never holds: it sees a placeholder, which the gate replaces on its way to api.github.com alone.
import { Sandbox } from 'sallyport';

const token = process.env['GITHUB_TOKEN'];
if (token === undefined) throw new Error('Set GITHUB_TOKEN.');

await using sandbox = await Sandbox.builder()
  .secret((s) =>
    s.env('GITHUB_TOKEN').value(token).allowHost('api.github.com').allowHostPattern('*.githubusercontent.com'),
  )
  .create();

console.log('inside:', (await sandbox.shell('echo "$GITHUB_TOKEN"')).stdout.trim());
const user = await sandbox.shell('curl -sS -H "Authorization: Bearer $GITHUB_TOKEN" https://api.github.com/user');
console.log('answer:', user.stdout.trim());
const elsewhere = await sandbox.shell('curl -sS -o /dev/null -w "%{http_code}" https://example.org/');
console.log('elsewhere:', elsewhere.stdout);

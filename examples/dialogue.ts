// Output as it comes, answers to it, and an end when enough was seen.
import { Sandbox } from 'sallyport';

const script = `
printf 'name? '; read name; echo "hello $name"
i=0; while :; do i=$((i + 1)); echo "tick $i"; sleep 0.05; done
`;

await using sandbox = await Sandbox.run();
const stream = sandbox.execStream('sh', ['-c', script], { stdin: true });
const decoder = new TextDecoder();
let text = '';
for await (const event of stream) {
  if (event.type === 'exit') console.log('ended with', event.exitCode);
  if (event.type !== 'stdout') continue;
  text += decoder.decode(event.data, { stream: true });
  if (text === 'name? ') await stream.stdin.write('Ada\n');
  if (text.includes('tick 3')) await stream.kill('SIGKILL');
}
console.log(text.split('\n').slice(0, 4).join(' | '));

// Code that nobody has read: it goes in as a file, runs with limits of memory and time and without a network, and leaves a file behind.
import { Sandbox } from 'sallyport';

const code = `
import json
squares = [n * n for n in json.load(open("/tmp/job/input.json"))]
json.dump(squares, open("/tmp/job/output.json", "w"))
`;

await using sandbox = await Sandbox.run({ limits: { pids: 64 }, lifetimeMs: 600_000 });
await sandbox.fs.mkdir('/tmp/job');
await sandbox.fs.write('/tmp/job/input.json', JSON.stringify([1, 2, 3]));
await sandbox.fs.write('/tmp/job/main.py', code);

const result = await sandbox.exec('python3', ['/tmp/job/main.py'], { workdir: '/tmp/job', timeoutMs: 30_000 });
if (result.success) console.log('squares:', await sandbox.fs.readText('/tmp/job/output.json'));
else console.log(result.timedOut ? 'It took too long.' : result.stderr);

const endless = await sandbox.exec('python3', ['-c', 'while True: pass'], { timeoutMs: 500 });
console.log('endless:', endless.timedOut ? 'ended after half a second' : endless.exitCode);

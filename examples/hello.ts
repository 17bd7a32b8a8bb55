// A sandbox for one command. It is removed when the program leaves the block.
import { Sandbox } from 'sallyport';

await using sandbox = await Sandbox.run();
const { stdout } = await sandbox.exec('echo', ['hello from', sandbox.name]);
console.log(stdout.trim());

// The official SDK, with nothing but its usual variable: a whole answer, and a stream whose rest comes once its beginning was seen.
import process from 'node:process';
import Anthropic from '@anthropic-ai/sdk';

const client = new Anthropic();
const request = { model: 'claude-test', max_tokens: 64, messages: [{ role: 'user', content: 'Say it.' }] };

const whole = await client.messages.create(request);
console.log(`whole=${whole.content[0].text}`);

let text = '';
let models = [];
for await (const event of await client.messages.create({ ...request, stream: true })) {
  if (event.type !== 'content_block_delta') continue;
  text += event.delta.text;
  if (models.length === 0) models = (await client.models.list()).data.map(({ id }) => id);
}
console.log(`stream=${text}`);
console.log(`models=${models.join()}`);
console.log(`held=${process.env.ANTHROPIC_API_KEY}`);

// The official SDK, with nothing but its usual variable: a whole answer, and streams whose rest comes once their beginning was seen.
import process from 'node:process';
import OpenAI from 'openai';

const client = new OpenAI();
const messages = [{ role: 'user', content: 'Say it.' }];

const whole = await client.chat.completions.create({ model: 'gpt-test', messages });
console.log(`whole=${whole.choices[0].message.content}`);

let text = '';
let models = [];
for await (const chunk of await client.chat.completions.create({ model: 'gpt-test', messages, stream: true })) {
  text += chunk.choices[0]?.delta.content ?? '';
  if (models.length === 0) models = (await client.models.list()).data.map(({ id }) => id);
}
console.log(`stream=${text}`);
console.log(`models=${models.join()}`);

text = '';
for await (const event of await client.responses.create({ model: 'gpt-test', input: 'Say it.', stream: true })) {
  if (event.type !== 'response.output_text.delta') continue;
  text += event.delta;
  await client.models.list();
}
console.log(`responses=${text}`);
console.log(`held=${process.env.OPENAI_API_KEY}`);

// The official SDK, with nothing but its usual variable: a whole answer, and a stream whose rest comes once its beginning was seen.
import process from 'node:process';
import { GoogleGenAI } from '@google/genai';

const client = new GoogleGenAI({});
const request = { model: 'gemini-test', contents: 'Say it.' };

const whole = await client.models.generateContent(request);
console.log(`whole=${whole.text}`);

let text = '';
const models = [];
for await (const chunk of await client.models.generateContentStream(request)) {
  text += chunk.text;
  if (models.length > 0) continue;
  for await (const { name } of await client.models.list()) models.push(name);
}
console.log(`stream=${text}`);
console.log(`models=${models.join()}`);
console.log(`held=${process.env.GOOGLE_API_KEY ?? process.env.GEMINI_API_KEY}`);

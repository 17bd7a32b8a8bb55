// `http-client.mjs LIBRARY URL`, on Node, Deno or Bun: prints the status, x-reflected, then the body as it arrives.
import { once } from 'node:events';
import process from 'node:process';

const [library, url] = process.argv.slice(2);
const headers = { authorization: `Bearer ${process.env.API_TOKEN}` };

async function print(status, reflected, body) {
  console.log(status, reflected);
  const decoder = new TextDecoder();
  for await (const chunk of body) process.stdout.write(decoder.decode(chunk, { stream: true }));
}

switch (library) {
  case 'fetch': {
    const response = await fetch(url, { headers });
    await print(response.status, response.headers.get('x-reflected'), response.body);
    break;
  }
  case 'undici-h1':
  case 'undici-h2': {
    const { Agent, request } = await import('undici');
    const dispatcher = new Agent({ allowH2: library === 'undici-h2' });
    const response = await request(url, { headers, dispatcher });
    await print(response.statusCode, response.headers['x-reflected'], response.body);
    await dispatcher.close();
    break;
  }
  case 'axios-h1':
  case 'axios-h2': {
    const { default: axios } = await import('axios');
    const version = library === 'axios-h2' ? { httpVersion: 2 } : {};
    const response = await axios.get(url, { headers, responseType: 'stream', ...version });
    await print(response.status, response.headers['x-reflected'], response.data);
    break;
  }
  case 'got-h1':
  case 'got-h2': {
    const { default: got } = await import('got');
    const stream = got.stream(url, { headers, http2: library === 'got-h2' });
    const [response] = await once(stream, 'response');
    await print(response.statusCode, response.headers['x-reflected'], stream);
    break;
  }
}
// Sessions of HTTP/2 that wait for more requests would keep the process.
process.exit(0);

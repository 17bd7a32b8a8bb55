import type { Attack } from '../attack.ts';
import { createReply, credentialOf } from '../upstreams.ts';
import { decodeBody } from '../message-reader.ts';

const MARKER = 'what surrounds the credential';

/** The positive controls: a gate that does nothing would withstand every attack. Where one fails, the run is inconclusive. */
export const CONTROLS: readonly Attack[] = [
  {
    id: 'control-honest',
    title: 'The honest request reaches the bound host, with the value',
    category: 'control',
    reference: 'positive control',
    leak: 'nothing; without it no other result means anything',
    run: async (session) => {
      const { stage, end } = await session.exchange({ to: 'bound', verify: true, send: [session.request('/honest')] });
      const arrived = session.requests.filter(({ connection }) => connection.server === 'bound-tls');
      if (arrived.length === 0) session.find(`nothing arrived at the bound host (${stage}: ${end})`);
      else if (credentialOf(arrived[0]!) !== session.target.value)
        session.find('the request arrived without the value');
    },
  },
  {
    id: 'control-unbound',
    title: 'The unbound host can be reached',
    category: 'control',
    reference: 'positive control',
    leak: 'nothing; without it the attacks that aim at another host cannot hit',
    run: async (session) => {
      const send = [`GET /honest HTTP/1.1\r\nHost: ${session.target.unbound}\r\nConnection: close\r\n\r\n`];
      const { stage, end } = await session.exchange({ to: 'unbound', verify: true, send });
      const arrived = session.requests.some(({ connection }) => connection.server === 'unbound-tls');
      if (!arrived) session.find(`nothing arrived at the unbound host (${stage}: ${end}); let the gate allow it`);
    },
  },
  {
    id: 'control-redaction',
    title: 'An answer that repeats the value arrives without it',
    category: 'control',
    reference: 'positive control',
    leak: 'the value, by any upstream that echoes a request',
    needs: ['redaction'],
    run: async (session) => {
      session.answer((request) => createReply('200 OK', [], `${MARKER} ${credentialOf(request)} ${MARKER}`));
      const { responses } = await session.exchange({ to: 'bound', send: [session.request('/echo')] });
      if (!session.requests.some((request) => credentialOf(request) === session.target.value)) {
        session.find('the request arrived without the value');
      }
      if (!responses.some((response) => decodeBody(response).includes(MARKER))) session.find('no answer came');
    },
  },
];

import { findForms } from '../canary.ts';
import type { Attack } from '../attack.ts';

/** What a program finds where it runs. */
export const SANDBOX_ATTACKS: readonly Attack[] = [
  {
    id: 'look-around',
    title: 'Environment, command lines and environments of every process, sockets, mounts',
    category: 'sandbox',
    reference: 'proc(5)',
    leak: 'the value, without any request',
    needs: ['sandbox'],
    run: async (session) => {
      const places = await session.look();
      if (places.length === 0) throw new Error('the client half saw nothing, not even its own environment');
      const values = [
        session.target.value,
        ...(session.target.second === undefined ? [] : [session.target.second.value]),
      ];
      for (const { where, data } of places) {
        for (const value of values) {
          for (const form of findForms(value, data)) session.find(`${where} holds a value (${form})`);
        }
      }
    },
  },
  {
    id: 'around-the-gate',
    title: 'The upstream’s own address cannot be reached but through the gate',
    category: 'sandbox',
    reference: 'a gate that can be walked around',
    leak: 'everything that may be read and sent',
    needs: ['sandbox'],
    run: async (session) => {
      for (const name of ['127.0.0.1', '::1', '10.0.2.2', '172.17.0.1', '192.168.65.2', '169.254.169.254']) {
        await session.exchange({
          to: 'unbound',
          name,
          port: session.unboundPort,
          sni: session.target.unbound,
          send: [session.request('/walked-around', { to: 'unbound' })],
          firstByteMs: 800,
        });
      }
      if (session.requests.some(({ target }) => target.includes('walked-around')))
        session.find('a connection to the upstream’s own address went through');
    },
  },
];

/**
 * Differential fuzz target for the ClientHello reader: hellos that are wrong in few places, cut into records and segments at random.
 * Nothing may throw; any cut must give the same result; and where OpenSSL (Node's TLS server) sees a server name in a hello that we
 * accept, it must be the name that we saw.
 *
 * `node --conditions=sallyport-source fuzz/client-hello.ts [--seed S] [--iterations N] [--seconds T]`
 */
import { isDeepStrictEqual } from 'node:util';
import { Duplex } from 'node:stream';
import { TLSSocket } from 'node:tls';
import type { SecureContext } from 'node:tls';

import { CertificateAuthority } from '../packages/runtime/src/tls/certificate-authority.ts';
import { ClientHelloReader, readClientHello } from '../packages/runtime/src/tls/client-hello.ts';
import { LeafContexts } from '../packages/runtime/src/tls/secure-contexts.ts';
import { runFromCommandLine, type FuzzTarget } from './campaign/campaign.ts';
import type { Dice } from './campaign/dice.ts';
import { targetOfThrows } from './campaign/thrown.ts';

const NAMES = [
  'a.example',
  'A.Example.',
  'xn--bcher-kva.example',
  '192.0.2.1',
  '2001:db8::1',
  '',
  'a\0b',
  'a b',
  '\xe9',
  'x'.repeat(255),
];

/** Opens the target. */
export async function openTarget(): Promise<FuzzTarget<{ dice: number[] }>> {
  const authority = await CertificateAuthority.create({ openssl: 'openssl', commonName: 'Fuzz' });
  const context = await new LeafContexts({ authority }).contextFor('a.example');
  return targetOfThrows('client-hello', async (dice, note) => {
    const bytes = intoRecords(damage(clientHello(dice), dice), dice);
    try {
      const result = readClientHello(bytes);
      const inPieces = readInPieces(bytes, dice);
      expect(isDeepStrictEqual(result, inPieces), `cut otherwise: ${JSON.stringify([result, inPieces])}`);
      if (result.state !== 'complete') return;
      note('accepted');
      const theirs = await serverNameOfOpenssl(bytes, context);
      if (theirs === undefined) return;
      note('with a name that OpenSSL saw');
      const ours = result.serverName;
      expect(theirs === (ours ?? theirs), `OpenSSL sees another name: ${JSON.stringify([theirs, ours])}`);
      // Null although there is a name: only for an address.
      expect(ours !== null || /^[0-9.]+$|:/.test(theirs), `we do not see a name: ${JSON.stringify(theirs)}`);
    } catch (error) {
      throw new Error(`${(error as Error).message}: bytes ${bytes.toString('hex')}`, { cause: error });
    }
  });
}

/** The name that OpenSSL hands to its server-name callback, or undefined if it does not come to that. */
async function serverNameOfOpenssl(bytes: Buffer, secureContext: SecureContext): Promise<string | undefined> {
  let name: string | undefined;
  const wire = new Duplex({ read: () => undefined, write: (_chunk, _encoding, done) => done() });
  const socket = new TLSSocket(wire, {
    isServer: true,
    secureContext,
    SNICallback: (seen) => {
      name = seen;
    },
  });
  socket.on('error', () => undefined);
  wire.on('error', () => undefined);
  wire.push(bytes);
  for (let turn = 0; turn < 3 && name === undefined; turn += 1) {
    await new Promise((next) => setImmediate(next));
  }
  socket.destroy();
  wire.destroy();
  return name;
}

function readInPieces(bytes: Buffer, dice: Dice): ReturnType<typeof readClientHello> {
  const reader = new ClientHelloReader();
  const largest = dice.pick([1, 7, 200]);
  let result = reader.push(Buffer.alloc(0));
  for (let offset = 0; offset < bytes.length;) {
    const end = offset + 1 + dice.below(largest);
    result = reader.push(bytes.subarray(offset, end));
    offset = end;
  }
  return result;
}

function clientHello(dice: Dice): string {
  const extensions: string[] = [];
  for (let left = dice.below(5); left > 0; left -= 1) {
    switch (dice.below(5)) {
      case 0:
        extensions.push(
          extension(
            0,
            vector16(
              Array.from({ length: 1 + (dice.below(6) === 0 ? 1 : 0) }, () => `\0${vector16(dice.pick(NAMES))}`).join(
                '',
              ),
            ),
          ),
        );
        break;
      case 1:
        extensions.push(extension(16, vector16(`${vector8('h2')}${vector8('http/1.1')}`)));
        break;
      case 2:
        extensions.push(extension(43, vector8('\x0a\x0a\x03\x04\x03\x03')));
        break;
      case 3:
        extensions.push(extension(dice.below(65536), 'x'.repeat(dice.below(40))));
        break;
      default:
        // What OpenSSL wants for TLS 1.2: groups and signature algorithms.
        extensions.push(extension(10, vector16('\0\x17\0\x1d')), extension(13, vector16('\x04\x03\x08\x04')));
        break;
    }
  }
  const body = `\x03\x03${'r'.repeat(32)}${vector8('s'.repeat(dice.pick([0, 32])))}${vector16('\x13\x01\xc0\x2b')}${vector8('\0')}${vector16(extensions.join(''))}`;
  return `\x01\0${vector16(body)}`;
}

function damage(message: string, dice: Dice): Buffer {
  const bytes = Buffer.from(message, 'latin1');
  for (let left = Math.max(0, dice.below(4) - 1); left > 0; left -= 1) {
    bytes[dice.below(bytes.length)] = dice.pick([0, 1, 0xff, dice.below(256)]);
  }
  return bytes;
}

function intoRecords(message: Buffer, dice: Dice): Buffer {
  const parts: Buffer[] = [];
  const largest = dice.pick([1, 50, 16384]);
  for (let offset = 0; offset < message.length;) {
    const fragment = message.subarray(offset, offset + 1 + dice.below(largest));
    parts.push(Buffer.of(22, 3, 1, fragment.length >>> 8, fragment.length & 0xff), fragment);
    offset += fragment.length;
  }
  return Buffer.concat(parts);
}

function extension(type: number, data: string): string {
  return `${String.fromCharCode(type >>> 8, type & 0xff)}${vector16(data)}`;
}

function vector8(content: string): string {
  return String.fromCharCode(content.length) + content;
}

function vector16(content: string): string {
  return String.fromCharCode(content.length >>> 8, content.length & 0xff) + content;
}

function expect(holds: boolean, otherwise: string): void {
  if (!holds) {
    throw new Error(otherwise);
  }
}

if (import.meta.main) await runFromCommandLine(openTarget, 10000);

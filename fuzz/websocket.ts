/**
 * Fuzz target for the WebSocket frame codec: frames that are wrong in few places, and noise, from either side, in any chunks. What we
 * read the parser of `ws` must read alike, and what it refuses we must refuse; we are stricter only about lengths that are not in their
 * shortest form. Without `ws` installed, only our own readings of the same bytes in other chunks are compared.
 *
 * `node --conditions=sallyport-source fuzz/websocket.ts [--seed S] [--iterations N] [--seconds T]`
 */
import { createRequire } from 'node:module';
import type { Writable } from 'node:stream';

import { OPCODE } from '../packages/runtime/src/websocket/frame.ts';
import { FrameBoundary } from '../packages/runtime/src/websocket/frame-boundary.ts';
import { FrameDecoder } from '../packages/runtime/src/websocket/frame-decoder.ts';
import { WebSocketSyntaxError } from '../packages/runtime/src/websocket/websocket-syntax-error.ts';
import { runFromCommandLine, type FuzzTarget } from './campaign/campaign.ts';
import type { Dice } from './campaign/dice.ts';
import { targetOfThrows } from './campaign/thrown.ts';

interface Reading {
  /** Messages and control frames in order; a message stands where it ended. */
  readonly seen: string[];
  readonly error: string | null;
}

type Receiver = new (options: object) => Writable;

const { Receiver } = loadWs();

function loadWs(): { readonly Receiver: Receiver | null } {
  try {
    return createRequire(import.meta.url)('ws') as { Receiver: Receiver };
  } catch {
    return { Receiver: null };
  }
}

/** Opens the target. */
export function openTarget(): FuzzTarget<{ dice: number[] }> {
  return targetOfThrows('websocket', (dice, note) => {
    const isClient = dice.below(2) === 0;
    const bytes = dice.below(6) === 0 ? noise(dice) : frames(dice, isClient);
    try {
      check(bytes, isClient, dice);
    } catch (error) {
      const side = isClient ? 'client' : 'server';
      throw new Error(`${(error as Error).message}: from a ${side}: ${bytes.toString('hex')}`, { cause: error });
    }
    note(Receiver === null ? 'without ws, which is not installed' : 'against ws');
  });
}

function check(bytes: Buffer, isClient: boolean, dice: Dice): void {
  const whole = readWithOurs([bytes], isClient);
  const chunks = cut(bytes, dice);
  expectSame('the chunking matters', whole, readWithOurs(chunks, isClient));
  if (whole.error === null) {
    const boundary = new FrameBoundary();
    for (const chunk of chunks) boundary.follow(chunk);
    expect(
      boundary.isClosed || boundary.isBetweenFrames === isBetweenFrames(bytes, isClient),
      'another frame boundary',
    );
  }
  if (Receiver === null) return;
  const theirs = readWithWs(Receiver, chunks, isClient);
  if (whole.error === null) {
    expectSame('ws reads it differently', whole, theirs);
  } else {
    expect(theirs.error !== null || whole.error === 'LENGTH', `only we refuse it, for ${whole.error}`);
    expect(theirs.seen.join().startsWith(whole.seen.join()), 'ws read something else before');
  }
}

function readWithOurs(chunks: readonly Buffer[], isClient: boolean): Reading {
  const decoder = new FrameDecoder({ side: isClient ? 'client' : 'server', compression: false });
  const seen: string[] = [];
  let message = '';
  try {
    for (const chunk of chunks) {
      const copy = Buffer.from(chunk);
      let offset = 0;
      while (offset < copy.length) {
        const next = decoder.decode(copy, offset);
        expect(next > offset && next <= copy.length, 'no progress');
        offset = next;
        const { event } = decoder;
        if (event?.kind === 'control') seen.push(`${event.opcode}:${event.payload.toString('hex')}`);
        if (event?.kind === 'data') {
          if (event.isMessageStart) message = `${event.opcode}:`;
          message += event.payload.toString('hex');
          if (event.isMessageEnd) seen.push(message);
        }
      }
    }
    return { seen, error: null };
  } catch (error) {
    if (!(error instanceof WebSocketSyntaxError)) throw error;
    return { seen, error: error.code };
  }
}

function readWithWs(Parser: Receiver, chunks: readonly Buffer[], isClient: boolean): Reading {
  const receiver = new Parser({ isServer: isClient, skipUTF8Validation: true, allowSynchronousEvents: true });
  const seen: string[] = [];
  let error: string | null = null;
  const note = (opcode: number) => (data: Buffer) => void seen.push(`${opcode}:${data.toString('hex')}`);
  receiver.on('message', (data: Buffer, isBinary: boolean) => note(isBinary ? OPCODE.binary : OPCODE.text)(data));
  receiver.on('ping', note(OPCODE.ping));
  receiver.on('pong', note(OPCODE.pong));
  receiver.on('conclude', (code: number, reason: Buffer) => {
    const payload = code === 1005 ? Buffer.alloc(0) : Buffer.concat([Buffer.from([code >> 8, code & 255]), reason]);
    note(OPCODE.close)(payload);
  });
  receiver.on('error', (fault: Error) => (error ??= fault.message));
  for (const chunk of chunks) {
    // It takes nothing after a close frame, and we pass over it.
    if (error !== null || receiver.writableEnded) break;
    // Its errors come by callback, which runs at once for a stream that is not corked.
    receiver.write(Buffer.from(chunk), (fault) => {
      if (fault != null) error ??= fault.message;
    });
    const { errored } = receiver;
    if (errored !== null) error ??= errored.message;
  }
  return { seen, error };
}

/** By hand, for bytes that are well-formed. */
function isBetweenFrames(bytes: Buffer, isClient: boolean): boolean {
  let at = 0;
  while (at < bytes.length) {
    if (at + 2 > bytes.length) return false;
    const short = bytes.readUInt8(at + 1) & 127;
    const extended = short === 126 ? 2 : short === 127 ? 8 : 0;
    if (at + 2 + extended > bytes.length) return false;
    const length =
      extended === 0 ? short : extended === 2 ? bytes.readUInt16BE(at + 2) : Number(bytes.readBigUInt64BE(at + 2));
    at += 2 + extended + (isClient ? 4 : 0) + length;
  }
  return at === bytes.length;
}

function frames(dice: Dice, isClient: boolean): Buffer {
  const parts: Buffer[] = [];
  let open = false;
  for (let count = dice.below(6); count >= 0; count -= 1) {
    const isControl = dice.below(4) === 0;
    let opcode: number = isControl ? dice.pick([8, 9, 9, 10]) : open ? 0 : dice.pick([1, 2]);
    const isFinal = isControl || dice.below(2) === 0;
    if (!isControl) open = !isFinal;
    const length = isControl
      ? dice.pick([0, 2, 5, 125])
      : dice.below(40) === 0
        ? dice.pick([65_535, 65_536])
        : dice.pick([0, 1, 7, 125, 126, 127, 300]);
    const payload = Buffer.alloc(length, dice.below(256));
    if (opcode === OPCODE.close && length >= 2)
      payload.writeUInt16BE(dice.pick([1000, 1001, 1004, 1005, 1011, 3000, 4999, 5000]));
    let rsv = 0;
    let masked = isClient;
    let form = length < 126 ? 0 : length < 65_536 ? 2 : 8;
    // One fault in a few frames.
    switch (dice.below(24)) {
      case 0:
        opcode = dice.below(16);
        break;
      case 1:
        rsv = dice.pick([0x10, 0x20, 0x40]);
        break;
      case 2:
        masked = !masked;
        break;
      case 3:
        form = dice.pick([2, 8]);
        break;
    }
    const second = (masked ? 0x80 : 0) | (form === 0 ? length & 127 : form === 2 ? 126 : 127);
    const header = [((isFinal ? 0x80 : 0) | rsv | opcode) & 255, second];
    if (form === 2) header.push((length >> 8) & 255, length & 255);
    if (form === 8) header.push(0, 0, 0, 0, 0, (length >> 16) & 255, (length >> 8) & 255, length & 255);
    const mask = masked ? [dice.below(256), dice.below(256), dice.below(256), dice.below(256)] : [];
    parts.push(
      Buffer.from([...header, ...mask]),
      Buffer.from(payload.map((byte, index) => byte ^ (mask[index % 4] ?? 0))),
    );
  }
  const bytes = Buffer.concat(parts);
  if (dice.below(6) === 0 && bytes.length > 0) bytes[dice.below(Math.min(bytes.length, 40))] = dice.below(256);
  return dice.below(4) === 0 ? bytes.subarray(0, dice.below(bytes.length + 1)) : bytes;
}

function noise(dice: Dice): Buffer {
  return Buffer.from(Array.from({ length: dice.below(40) }, () => dice.below(256)));
}

function cut(bytes: Buffer, dice: Dice): Buffer[] {
  const most = dice.pick([1, 3, 20, 1000, 70_000]);
  // Not byte by byte through a long frame: that would be all that this target does.
  const least = bytes.length > 5000 ? 200 : 1;
  const chunks: Buffer[] = [];
  for (let at = 0; at < bytes.length;) {
    const size = least + dice.below(most);
    chunks.push(bytes.subarray(at, at + size));
    at += size;
  }
  return chunks;
}

function expectSame(otherwise: string, one: Reading, other: Reading): void {
  expect((one.error === null) === (other.error === null), `${otherwise}: ${one.error} or ${other.error}`);
  expect(one.seen.join() === other.seen.join(), `${otherwise}: ${one.seen.join()} or ${other.seen.join()}`);
}

function expect(holds: boolean, otherwise: string): void {
  if (!holds) throw new Error(otherwise);
}

if (import.meta.main) await runFromCommandLine(openTarget, 20000);

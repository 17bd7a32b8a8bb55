/**
 * DNS messages (RFC 1035 section 4, EDNS RFC 6891): reads queries, writes responses. Pure.
 *
 * No compression pointer is ever followed: a question cannot have one (there is no earlier name to point at), and of the other
 * records only the OPT record is looked at, whose name is the root.
 */

/** Response codes: RFC 1035 section 4.1.1, and BADVERS of RFC 6891. */
export const RCODE = {
  NOERROR: 0,
  FORMERR: 1,
  SERVFAIL: 2,
  NXDOMAIN: 3,
  NOTIMP: 4,
  REFUSED: 5,
  BADVERS: 16,
} as const;

export type Rcode = (typeof RCODE)[keyof typeof RCODE];

/** The record types that are treated by name. */
export const TYPE = {
  A: 1,
  SOA: 6,
  PTR: 12,
  HINFO: 13,
  AAAA: 28,
  OPT: 41,
  IXFR: 251,
  AXFR: 252,
  ANY: 255,
} as const;

const CLASS_IN = 1;
const HEADER_BYTES = 12;
const MAX_NAME_BYTES = 255;
const MAX_LABEL_BYTES = 63;
/** OPT, and perhaps TSIG or SIG(0): nobody sends more. */
const MAX_ADDITIONAL_RECORDS = 4;
/** The size of a UDP message without EDNS (RFC 1035 section 4.2.1). */
const PLAIN_UDP_BYTES = 512;
/** The largest UDP response sent, whatever the client offers: no fragments on any path (DNS flag day 2020). */
export const MAX_UDP_BYTES = 1232;

const FLAG_RESPONSE = 0x8000;
const FLAG_TRUNCATED = 0x0200;
const FLAG_RECURSION_DESIRED = 0x0100;
const FLAG_RECURSION_AVAILABLE = 0x0080;
const FLAG_CHECKING_DISABLED = 0x0010;
/** A pointer to the name of the question, which is always at offset 12. */
const QUESTION_NAME = Buffer.from([0xc0, HEADER_BYTES]);

/** What a client says by EDNS. */
export interface Edns {
  /** What it takes by UDP, in bytes; never below 512. */
  readonly udpPayloadBytes: number;
  readonly version: number;
}

/** What is echoed in the response to any message that has at least an id. */
export interface DnsEnvelope {
  readonly id: number;
  readonly opcode: number;
  readonly recursionDesired: boolean;
  readonly checkingDisabled: boolean;
  /** The question as sent, its letters' case kept (0x20 encoding); empty where none could be read. */
  readonly question: Buffer;
  readonly edns: Edns | null;
}

/** One question of class IN. */
export interface DnsQuery {
  readonly kind: 'query';
  readonly envelope: DnsEnvelope;
  /** The labels, one character a byte, as sent; none for the root. */
  readonly labels: readonly string[];
  readonly type: number;
}

/** A message that is not answered as asked: dropped, or refused with a code. */
export type DnsProblem =
  | { readonly kind: 'drop' }
  | { readonly kind: 'refuse'; readonly envelope: DnsEnvelope; readonly rcode: Rcode };

/** A record of a response. The owner of each answer is the name of the question. */
export type DnsAnswer =
  /** 4 or 16 bytes. */
  | { readonly type: 'A' | 'AAAA'; readonly address: Uint8Array }
  | { readonly type: 'PTR'; readonly name: string }
  /** RFC 8482 section 4.2: the answer to ANY. */
  | { readonly type: 'HINFO' };

/** What to answer. Where `answers` is empty, `negative` adds the SOA that lets a client remember that. */
export interface DnsResponse {
  readonly rcode: Rcode;
  readonly answers: readonly DnsAnswer[];
  readonly negative: boolean;
}

/**
 * Reads one message. Never throws, whatever the bytes are.
 *
 * Dropped are what has no id, and responses (or two servers could answer each other for ever).
 */
export function parseQuery(packet: Buffer): DnsQuery | DnsProblem {
  if (packet.length < 2) {
    return { kind: 'drop' };
  }
  const id = packet.readUInt16BE(0);
  const flags = packet.length < 4 ? (packet[2] ?? 0) << 8 : packet.readUInt16BE(2);
  if ((flags & FLAG_RESPONSE) !== 0) {
    return { kind: 'drop' };
  }
  const bare: DnsEnvelope = {
    id,
    opcode: (flags >>> 11) & 0xf,
    recursionDesired: (flags & FLAG_RECURSION_DESIRED) !== 0,
    checkingDisabled: (flags & FLAG_CHECKING_DISABLED) !== 0,
    question: Buffer.alloc(0),
    edns: null,
  };
  if (packet.length < HEADER_BYTES) {
    return { kind: 'refuse', envelope: bare, rcode: RCODE.FORMERR };
  }
  if (bare.opcode !== 0) {
    return { kind: 'refuse', envelope: bare, rcode: RCODE.NOTIMP };
  }
  const additionalCount = packet.readUInt16BE(10);
  // RFC 9619: exactly one question. A query has neither answers nor authority (notifications and updates have another opcode).
  if (
    packet.readUInt16BE(4) !== 1 ||
    packet.readUInt16BE(6) !== 0 ||
    packet.readUInt16BE(8) !== 0 ||
    additionalCount > MAX_ADDITIONAL_RECORDS
  ) {
    return { kind: 'refuse', envelope: bare, rcode: RCODE.FORMERR };
  }
  const name = readName(packet, HEADER_BYTES);
  if (name === null || packet.length < name.end + 4) {
    return { kind: 'refuse', envelope: bare, rcode: RCODE.FORMERR };
  }
  const type = packet.readUInt16BE(name.end);
  const questionClass = packet.readUInt16BE(name.end + 2);
  const asked: DnsEnvelope = { ...bare, question: Buffer.from(packet.subarray(HEADER_BYTES, name.end + 4)) };
  const edns = readAdditional(packet, name.end + 4, additionalCount);
  if (edns === 'malformed') {
    return { kind: 'refuse', envelope: asked, rcode: RCODE.FORMERR };
  }
  const envelope: DnsEnvelope = { ...asked, edns };
  if (edns !== null && edns.version !== 0) {
    return { kind: 'refuse', envelope, rcode: RCODE.BADVERS };
  }
  if (questionClass !== CLASS_IN || type === TYPE.AXFR || type === TYPE.IXFR) {
    return { kind: 'refuse', envelope, rcode: RCODE.REFUSED };
  }
  // These are records about messages, not about names.
  if (type === 0 || type === TYPE.OPT) {
    return { kind: 'refuse', envelope, rcode: RCODE.FORMERR };
  }
  return { kind: 'query', envelope, labels: name.labels, type };
}

/**
 * Writes a response. One that is larger than `maxBytes` loses its records and gets the TC flag: the client asks again by TCP.
 *
 * @param options.ttlSeconds for answers
 * @param options.negativeTtlSeconds how long "no such name or record" may be remembered (RFC 2308)
 * @param options.maxBytes what the transport takes: {@link udpLimit}, or 65535 for TCP
 */
export function encodeAnswer(
  envelope: DnsEnvelope,
  response: DnsResponse,
  options: { ttlSeconds: number; negativeTtlSeconds: number; maxBytes: number },
): Buffer {
  const records = response.answers.map((answer) => encodeRecord(answer, options.ttlSeconds));
  const authority = response.negative ? [encodeSoa(options.negativeTtlSeconds)] : [];
  const whole = encodeMessage(envelope, response.rcode, records, authority, 0);
  return whole.length <= options.maxBytes ? whole : encodeMessage(envelope, response.rcode, [], [], FLAG_TRUNCATED);
}

/** What a UDP response to this message may take, in bytes. */
export function udpLimit(envelope: DnsEnvelope): number {
  return envelope.edns === null ? PLAIN_UDP_BYTES : Math.min(envelope.edns.udpPayloadBytes, MAX_UDP_BYTES);
}

function encodeMessage(
  envelope: DnsEnvelope,
  rcode: Rcode,
  answers: readonly Buffer[],
  authority: readonly Buffer[],
  extraFlags: number,
): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt16BE(envelope.id, 0);
  header.writeUInt16BE(
    FLAG_RESPONSE |
      (envelope.opcode << 11) |
      extraFlags |
      (envelope.recursionDesired ? FLAG_RECURSION_DESIRED : 0) |
      FLAG_RECURSION_AVAILABLE |
      (envelope.checkingDisabled ? FLAG_CHECKING_DISABLED : 0) |
      (rcode & 0xf),
    2,
  );
  header.writeUInt16BE(envelope.question.length > 0 ? 1 : 0, 4);
  header.writeUInt16BE(answers.length, 6);
  header.writeUInt16BE(authority.length, 8);
  header.writeUInt16BE(envelope.edns === null ? 0 : 1, 10);
  const opt = envelope.edns === null ? [] : [encodeOpt(rcode)];
  return Buffer.concat([header, envelope.question, ...answers, ...authority, ...opt]);
}

/** RFC 6891 section 6.1.2: no options; the upper bits of the response code; version 0. */
function encodeOpt(rcode: Rcode): Buffer {
  const opt = Buffer.alloc(11);
  opt.writeUInt16BE(TYPE.OPT, 1);
  opt.writeUInt16BE(MAX_UDP_BYTES, 3);
  opt.writeUInt8(rcode >>> 4, 5);
  return opt;
}

function encodeRecord(answer: DnsAnswer, ttlSeconds: number): Buffer {
  switch (answer.type) {
    case 'A':
      return record(QUESTION_NAME, TYPE.A, ttlSeconds, answer.address);
    case 'AAAA':
      return record(QUESTION_NAME, TYPE.AAAA, ttlSeconds, answer.address);
    case 'PTR':
      return record(QUESTION_NAME, TYPE.PTR, ttlSeconds, encodeName(answer.name));
    case 'HINFO':
      return record(QUESTION_NAME, TYPE.HINFO, ttlSeconds, Buffer.from('\x07RFC8482\x00', 'latin1'));
  }
}

/** The SOA of the root, which encloses every name: MNAME and RNAME are the root, then serial, refresh, retry, expire, minimum. */
function encodeSoa(ttlSeconds: number): Buffer {
  const data = Buffer.alloc(22);
  for (const [index, value] of [1, ttlSeconds, ttlSeconds, ttlSeconds, ttlSeconds].entries()) {
    data.writeUInt32BE(value, 2 + index * 4);
  }
  return record(Buffer.of(0), TYPE.SOA, ttlSeconds, data);
}

function record(owner: Buffer, type: number, ttlSeconds: number, data: Uint8Array): Buffer {
  const fixed = Buffer.alloc(10);
  fixed.writeUInt16BE(type, 0);
  fixed.writeUInt16BE(CLASS_IN, 2);
  fixed.writeUInt32BE(ttlSeconds, 4);
  fixed.writeUInt16BE(data.length, 8);
  return Buffer.concat([owner, fixed, data]);
}

function encodeName(name: string): Buffer {
  const parts = name.split('.').map((label) => Buffer.from(String.fromCharCode(label.length) + label, 'latin1'));
  return Buffer.concat([...parts, Buffer.of(0)]);
}

function readName(packet: Buffer, start: number): { labels: string[]; end: number } | null {
  const labels: string[] = [];
  let offset = start;
  for (;;) {
    const length = packet[offset];
    // The two upper bits are compression (nothing to point at) and types that nobody uses.
    if (length === undefined || length > MAX_LABEL_BYTES) {
      return null;
    }
    offset += 1;
    if (length === 0) {
      return { labels, end: offset };
    }
    // The root's byte must still have room.
    if (offset + length - start >= MAX_NAME_BYTES || offset + length > packet.length) {
      return null;
    }
    labels.push(packet.toString('latin1', offset, offset + length));
    offset += length;
  }
}

/** Looks for the OPT record. The others are stepped over; what is behind the last one is nobody's business (RFC 1035 says nothing of it). */
function readAdditional(packet: Buffer, start: number, count: number): Edns | null | 'malformed' {
  let edns: Edns | null = null;
  let offset = start;
  for (let index = 0; index < count; index += 1) {
    const end = skipName(packet, offset);
    if (end === null || packet.length < end + 10) {
      return 'malformed';
    }
    const dataEnd = end + 10 + packet.readUInt16BE(end + 8);
    if (dataEnd > packet.length) {
      return 'malformed';
    }
    if (packet.readUInt16BE(end) === TYPE.OPT) {
      // RFC 6891 section 6.1.1: at most one, and owned by the root.
      if (edns !== null || packet[offset] !== 0) {
        return 'malformed';
      }
      edns = {
        udpPayloadBytes: Math.max(packet.readUInt16BE(end + 2), PLAIN_UDP_BYTES),
        version: packet[end + 5] ?? 0,
      };
    }
    offset = dataEnd;
  }
  return edns;
}

function skipName(packet: Buffer, start: number): number | null {
  const pointer = (packet[start] ?? 0) >= 0xc0;
  if (pointer) {
    return start + 2 <= packet.length ? start + 2 : null;
  }
  return readName(packet, start)?.end ?? null;
}

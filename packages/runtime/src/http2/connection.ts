import { ConnectionOutput } from './connection-output.ts';
import {
  calm,
  ERROR_CODE,
  flowControlError,
  Http2ConnectionError,
  frameSizeError,
  protocolError,
} from './error-code.ts';
import { FieldList, type ListKind } from './field-list.ts';
import { DEFAULT_WINDOW_BYTES, FLAG, FRAME, MAX_FRAME_BYTES, MAX_INT31, PREFACE, readUint32 } from './frame.ts';
import { FrameReader } from './frame-reader.ts';
import { checkShape, paddingOf, PRIORITY_BYTES } from './frame-shape.ts';
import { HeaderBlock } from './header-block.ts';
import { HpackDecoder } from './hpack-decoder.ts';
import { encodeSettings, initialSettings, readSettings } from './settings.ts';
import { OpenStream, type StreamOwner } from './stream.ts';
import { PeerConduct } from './peer-conduct.ts';
import type {
  Http2ConnectionListener,
  Http2ConnectionOptions,
  Http2PeerSettings,
  Http2Stream,
  Http2StreamListener,
  SendHeadOptions,
} from './types.ts';

/** The connection's window is this many times as large as a stream's. */
const CONNECTION_WINDOWS = 4;
/** Less than this on a stream that we have reset brings nothing. */
const SMALL_DATA_BYTES = 256;

/**
 * One HTTP/2 connection (RFC 9113), either side of it, without input and output: bytes go in by `receive`, and out by `Http2Output`.
 *
 * Its preface and settings are written on construction.
 */
export class Http2Connection {
  readonly #role: 'server' | 'client';
  readonly #listener: Http2ConnectionListener;
  readonly #options: Http2ConnectionOptions;
  readonly #output: ConnectionOutput;
  readonly #reader: FrameReader;
  readonly #decoder = new HpackDecoder();
  readonly #list: FieldList;
  readonly #block: HeaderBlock;
  readonly #streams = new Map<number, OpenStream>();
  readonly #conduct: PeerConduct;
  readonly #owner: StreamOwner;
  #peer: Http2PeerSettings;
  #hasPeerSettings = false;
  #settingsToAcknowledge = 1;
  /** How many body bytes the peer may still send, and how many were taken since it was last told of. */
  #receiveWindow: number;
  #takenBytes = 0;
  /** Streams that count against the limit of whoever opened them. */
  #openCount = 0;
  /** The highest stream that the peer has opened; and on the client's side, the next one of ours. */
  #lastPeerId = 0;
  #nextId = 1;
  #peerGoesAway = false;
  #isClosing = false;
  #isClosed = false;

  constructor(options: Http2ConnectionOptions) {
    const { role, limits, listener, nowMs, enableConnectProtocol = false } = options;
    this.#options = options;
    this.#role = role;
    this.#listener = listener;
    this.#output = new ConnectionOutput(options.output);
    this.#reader = new FrameReader(role === 'server', (type, flags, streamId, source, start, end) =>
      this.#receiveFrame(type, flags, streamId, source, start, end),
    );
    this.#list = new FieldList(
      limits.maxHeaderListBytes,
      limits.maxHeaderPairs,
      enableConnectProtocol,
      role === 'client',
    );
    this.#block = new HeaderBlock(limits.maxHeaderListBytes + MAX_FRAME_BYTES);
    this.#conduct = new PeerConduct(role, limits, nowMs);
    this.#peer = initialSettings(limits.maxConcurrentStreams);
    this.#receiveWindow = limits.windowBytes * CONNECTION_WINDOWS;
    this.#owner = {
      role,
      windowBytes: limits.windowBytes,
      maxInterimResponses: limits.maxInterimResponses,
      output: this.#output,
      streamFault: (streamId, code, reason) => this.#streamFault(streamId, code, reason),
      noteReset: (streamId) => this.#conduct.remember(streamId),
      wireClosed: () => void (this.#openCount -= 1),
      forget: (stream) => void this.#streams.delete(stream.id),
      streamClosed: () => this.#endIfDone(),
    };
    if (role === 'client') this.#output.writeRaw(PREFACE);
    this.#output.writeSettings(0, encodeSettings(role, limits, enableConnectProtocol));
    const wider = this.#receiveWindow - DEFAULT_WINDOW_BYTES;
    if (wider > 0) this.#output.writeWindowUpdate(0, wider);
    else this.#receiveWindow = DEFAULT_WINDOW_BYTES;
  }

  /** The settings of the peer, which are the defaults until it has sent some; `maxConcurrentStreams` is then taken from our own limits. */
  get peerSettings(): Http2PeerSettings {
    return this.#peer;
  }

  /** Whether the peer has sent its settings. */
  get hasPeerSettings(): boolean {
    return this.#hasPeerSettings;
  }

  /** Streams that are open. */
  get streamCount(): number {
    return this.#streams.size;
  }

  /** Client's side: whether a further stream can be opened at this moment. */
  get hasRoom(): boolean {
    if (this.#role === 'server' || this.#isClosed || this.#isClosing || this.#peerGoesAway) return false;
    return this.#openCount < this.#peer.maxConcurrentStreams && this.#nextId <= MAX_INT31;
  }

  /** Whether the connection is over. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Takes bytes of the peer's. Never throws for what they say; listeners must not throw. */
  receive(chunk: Buffer): void {
    if (this.#isClosed) return;
    try {
      this.#reader.read(chunk);
    } catch (error) {
      if (!(error instanceof Http2ConnectionError)) throw error;
      this.#fail(error);
    }
  }

  /** The peer has ended its side of the socket, or the socket is gone: the connection is over. */
  receiveEnd(): void {
    this.#finish();
  }

  /** The socket takes bytes again. */
  drained(): void {
    this.#output.drained();
  }

  /** Writes what waits. */
  flush(): void {
    this.#output.flush();
    if (this.#output.isFlooded) this.#fail(flooded());
  }

  /**
   * Client's side: opens a stream with a request. `Http2StreamListener.closed` is always called in the end, from now on at the earliest.
   *
   * @throws {Http2FieldError} for fields that HTTP/2 does not allow; nothing has been sent then.
   * @throws {RangeError} without room ({@link hasRoom}).
   */
  request(fields: readonly string[], options: SendHeadOptions, listener: Http2StreamListener): Http2Stream {
    if (!this.hasRoom) throw new RangeError('the connection has no room for another stream');
    const { ends = false, neverIndexed } = options;
    const id = this.#nextId;
    this.#output.writeFields(id, fields, ends, neverIndexed);
    this.#nextId += 2;
    this.#openCount += 1;
    this.#conduct.request();
    const stream = new OpenStream(id, this.#owner, this.#peer.initialWindowSize, listener);
    stream.sentRequest(fields[fields.indexOf(':method') + 1] ?? '', ends);
    this.#streams.set(id, stream);
    return stream;
  }

  /** Takes or opens no more streams (GOAWAY), and ends the connection once the last one has closed. */
  close(): void {
    if (this.#isClosed || this.#isClosing) return;
    this.#isClosing = true;
    this.#output.writeGoAway(this.#lastPeerId, ERROR_CODE.noError);
    if (this.#streams.size === 0) this.#finish();
  }

  /** Ends the connection at once: GOAWAY with this code is written, streams are reset with `cancel`. Default `noError`. */
  destroy(code: number = ERROR_CODE.noError): void {
    if (this.#isClosed) return;
    this.#output.writeGoAway(this.#lastPeerId, code);
    this.#finish();
  }

  #fail({ code, message }: Http2ConnectionError): void {
    if (this.#isClosed) return;
    this.#listener.fault({ scope: 'connection', streamId: 0, code, reason: message });
    this.destroy(code);
  }

  #finish(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#output.end();
    for (const stream of this.#streams.values()) stream.cut(ERROR_CODE.cancel);
    this.#listener.closed();
  }

  #receiveFrame(type: number, flags: number, streamId: number, source: Buffer, start: number, end: number): boolean {
    if (!this.#hasPeerSettings && (type !== FRAME.settings || (flags & FLAG.ack) !== 0)) {
      throw protocolError('the first frame is not SETTINGS');
    }
    if (this.#block.streamId !== 0 && (type !== FRAME.continuation || streamId !== this.#block.streamId)) {
      throw protocolError('a header block is interrupted');
    }
    checkShape(type, streamId, end - start);
    switch (type) {
      case FRAME.data:
        this.#receiveData(flags, streamId, source, start, end);
        break;
      case FRAME.headers:
        this.#receiveHeaders(flags, streamId, source, start, end);
        break;
      case FRAME.continuation:
        this.#receiveContinuation(flags, streamId, source, start, end);
        break;
      case FRAME.reset:
        this.#receiveReset(streamId, readUint32(source, start));
        break;
      case FRAME.windowUpdate:
        this.#receiveWindowUpdate(streamId, readUint32(source, start) & MAX_INT31);
        break;
      case FRAME.settings:
        this.#receiveSettings(flags, source, start, end);
        break;
      case FRAME.ping:
        this.#spendIdle();
        if ((flags & FLAG.ack) === 0) this.#output.writePong(source, start, end);
        break;
      case FRAME.goAway:
        this.#receiveGoAway(readUint32(source, start) & MAX_INT31, readUint32(source, start + 4));
        break;
      default:
        // Priorities are not followed, and what is unknown is ignored.
        this.#spendIdle();
    }
    if (this.#output.isFlooded) throw flooded();
    return !this.#isClosed;
  }

  #receiveData(flags: number, streamId: number, source: Buffer, start: number, end: number): void {
    const stream = this.#streamOf(streamId, 'DATA');
    const flowBytes = end - start;
    const ends = (flags & FLAG.endStream) !== 0;
    const padding = (flags & FLAG.padded) === 0 ? 0 : paddingOf(source, start, end);
    this.#receiveWindow -= flowBytes;
    if (this.#receiveWindow < 0) throw flowControlError('DATA exceeds the window of the connection');
    // At once, not when it is taken: a stream that is paused must not stop the others. What it holds is bounded by its own window.
    this.#credit(flowBytes);
    if (stream === null) {
      if (flowBytes < SMALL_DATA_BYTES) this.#spendIdle();
      return;
    }
    const from = (flags & FLAG.padded) === 0 ? start : start + 1;
    const to = end - padding;
    if (from === to && !ends) this.#spendIdle();
    stream.receiveData(source, from, to, flowBytes, ends);
  }

  #receiveHeaders(flags: number, streamId: number, source: Buffer, start: number, end: number): void {
    if (streamId % 2 === 0) throw protocolError('HEADERS is on a stream that only a server opens');
    let from = start;
    let to = end;
    if ((flags & FLAG.padded) !== 0) {
      to -= paddingOf(source, start, end);
      from += 1;
    }
    if ((flags & FLAG.priority) !== 0) from += PRIORITY_BYTES;
    if (from > to) throw protocolError('HEADERS is shorter than its padding and priority');
    const ends = (flags & FLAG.endStream) !== 0;
    if ((flags & FLAG.endHeaders) === 0) this.#block.begin(streamId, ends, source, from, to);
    else this.#receiveBlock(streamId, ends, source, from, to);
  }

  #receiveContinuation(flags: number, streamId: number, source: Buffer, start: number, end: number): void {
    const block = this.#block;
    if (block.streamId === 0) throw protocolError('CONTINUATION comes without HEADERS');
    if (start === end) this.#spendIdle();
    block.add(source, start, end);
    if ((flags & FLAG.endHeaders) === 0) return;
    const { bytes, length, ends } = block;
    block.clear();
    this.#receiveBlock(streamId, ends, bytes, 0, length);
  }

  /** A whole header block. It is decoded whatever becomes of it: the next one builds on it. */
  #receiveBlock(streamId: number, ends: boolean, source: Buffer, start: number, end: number): void {
    const isNew = this.#role === 'server' && streamId > this.#lastPeerId;
    const stream = isNew ? null : this.#streamOf(streamId, 'HEADERS');
    const list = this.#list;
    let kind: ListKind = 'request';
    if (!isNew) kind = stream !== null && !stream.expectsTrailers && this.#role === 'client' ? 'response' : 'trailers';
    list.begin(kind);
    this.#decoder.decode(source, start, end, list);
    list.finish(ends);
    if (isNew) {
      this.#openPeerStream(streamId, ends);
    } else if (stream === null) {
      this.#spendIdle();
    } else if (stream.remoteEnded) {
      this.#streamFault(streamId, ERROR_CODE.streamClosed, 'HEADERS comes behind the end of its stream');
    } else if (list.isTooLong) {
      this.#streamFault(streamId, ERROR_CODE.enhanceYourCalm, 'a list of fields is too long');
    } else if (list.problem !== null) {
      this.#streamFault(streamId, ERROR_CODE.protocolError, list.problem);
    } else if (kind === 'response') {
      stream.receiveResponse(list, ends);
    } else {
      stream.receiveTrailers(list.fields);
    }
  }

  #openPeerStream(streamId: number, ends: boolean): void {
    const list = this.#list;
    this.#lastPeerId = streamId;
    if (this.#isClosing || this.#openCount >= this.#options.limits.maxConcurrentStreams) {
      this.#streamFault(streamId, ERROR_CODE.refusedStream, 'there are too many streams, or no more are taken');
    } else if (list.isTooLong) {
      this.#streamFault(streamId, ERROR_CODE.enhanceYourCalm, 'a list of fields is too long');
    } else if (list.problem !== null) {
      this.#streamFault(streamId, ERROR_CODE.protocolError, list.problem);
    } else {
      this.#openCount += 1;
      this.#conduct.request();
      const stream = new OpenStream(streamId, this.#owner, this.#peer.initialWindowSize);
      this.#streams.set(streamId, stream);
      stream.receiveRequest(list, ends);
      this.#listener.stream(stream, list.fields, ends);
      stream.deliverEnd();
    }
  }

  #receiveReset(streamId: number, code: number): void {
    const stream = this.#streams.get(streamId);
    if (stream === undefined) {
      if (this.#isIdle(streamId)) throw protocolError('RST_STREAM is on a stream that was not opened');
      this.#spendIdle();
      return;
    }
    this.#conduct.reset();
    stream.cut(code);
  }

  #receiveWindowUpdate(streamId: number, bytes: number): void {
    this.#spendIdle();
    if (streamId === 0) {
      if (bytes === 0) throw protocolError('a window is widened by nothing');
      if (this.#output.sendWindow + bytes > MAX_INT31) throw flowControlError('a window is made too large');
      this.#output.sendWindow += bytes;
      this.#output.pump();
      return;
    }
    const stream = this.#streams.get(streamId);
    if (stream === undefined) {
      if (this.#isIdle(streamId)) throw protocolError('WINDOW_UPDATE is on a stream that was not opened');
      return;
    }
    if (bytes === 0) {
      this.#streamFault(streamId, ERROR_CODE.protocolError, 'a window is widened by nothing');
      return;
    }
    stream.widen(bytes, false);
    this.#output.pump();
  }

  #receiveSettings(flags: number, source: Buffer, start: number, end: number): void {
    this.#spendIdle();
    if ((flags & FLAG.ack) !== 0) {
      if (start !== end) throw frameSizeError('SETTINGS is acknowledged with a payload');
      if (this.#settingsToAcknowledge === 0) throw protocolError('SETTINGS is acknowledged that was not sent');
      this.#settingsToAcknowledge -= 1;
      return;
    }
    const before = this.#peer.initialWindowSize;
    this.#peer = readSettings(source, start, end, this.#peer, this.#role);
    this.#hasPeerSettings = true;
    this.#output.encoder.resize(this.#peer.headerTableSize);
    const wider = this.#peer.initialWindowSize - before;
    if (wider !== 0) for (const stream of this.#streams.values()) stream.widen(wider, true);
    this.#output.writeSettings(FLAG.ack);
    this.#output.pump();
    this.#listener.settings(this.#peer);
  }

  #receiveGoAway(lastId: number, code: number): void {
    this.#spendIdle();
    this.#peerGoesAway = true;
    this.#listener.goAway(code);
    if (this.#role === 'server') return;
    for (const stream of this.#streams.values()) if (stream.id > lastId) stream.cut(ERROR_CODE.refusedStream);
    // Nothing can be asked of it any more.
    if (this.#streams.size === 0) this.destroy();
  }

  /**
   * The stream that a frame is on; null for one that we reset, whose frames are ignored (RFC 9113 section 5.1).
   *
   * @throws {Http2ConnectionError} for one that was never opened, or that ended in order.
   */
  #streamOf(streamId: number, frame: string): OpenStream | null {
    const stream = this.#streams.get(streamId);
    if (stream !== undefined) return stream;
    if (this.#isIdle(streamId)) throw protocolError(`${frame} is on a stream that was not opened`);
    if (this.#conduct.remembers(streamId)) return null;
    throw new Http2ConnectionError(ERROR_CODE.streamClosed, `${frame} comes behind the end of its stream`);
  }

  /** Whether no such stream was ever opened. */
  #isIdle(streamId: number): boolean {
    if (streamId === 0 || streamId % 2 === 0) return true;
    return this.#role === 'server' ? streamId > this.#lastPeerId : streamId >= this.#nextId;
  }

  #streamFault(streamId: number, code: number, reason: string): void {
    if (this.#isClosed) return;
    this.#listener.fault({ scope: 'stream', streamId, code, reason });
    this.#output.writeReset(streamId, code);
    this.#conduct.remember(streamId);
    this.#streams.get(streamId)?.cut(code);
    this.#conduct.reset();
  }

  #endIfDone(): void {
    if (this.#streams.size > 0 || this.#isClosed) return;
    if (this.#isClosing) this.#finish();
    else if (this.#peerGoesAway && this.#role === 'client') this.destroy();
  }

  #credit(bytes: number): void {
    if (bytes === 0 || this.#isClosed) return;
    this.#takenBytes += bytes;
    if (this.#takenBytes < (this.#owner.windowBytes * CONNECTION_WINDOWS) / 2) return;
    this.#receiveWindow += this.#takenBytes;
    this.#output.writeWindowUpdate(0, this.#takenBytes);
    this.#takenBytes = 0;
  }

  #spendIdle(): void {
    if (this.#output.earnedFrames > 0) {
      this.#conduct.earn(this.#output.earnedFrames);
      this.#output.earnedFrames = 0;
    }
    this.#conduct.idleFrame();
  }
}

function flooded(): Http2ConnectionError {
  return calm('the peer does not read what it makes us write');
}

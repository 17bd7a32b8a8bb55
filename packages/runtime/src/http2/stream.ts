import { ByteQueue } from './byte-queue.ts';
import type { ConnectionOutput } from './connection-output.ts';
import { ERROR_CODE, flowControlError } from './error-code.ts';
import type { FieldList } from './field-list.ts';
import { MAX_FRAME_BYTES, MAX_INT31 } from './frame.ts';
import type { Http2Stream, Http2StreamListener, SendHeadOptions } from './types.ts';

/** From so many bytes on that wait for the peer, `sendData` asks its caller to wait; below so many it may go on. */
const HIGH_WATER_BYTES = 64 * 1024;
const LOW_WATER_BYTES = 32 * 1024;
/** Status codes whose responses have no body, whatever they say of its length (RFC 9110 section 8.6). */
const NO_CONTENT = 204;
const NOT_MODIFIED = 304;

/** What a stream asks of its connection. */
export interface StreamOwner {
  readonly role: 'server' | 'client';
  readonly windowBytes: number;
  readonly maxInterimResponses: number;
  readonly output: ConnectionOutput;
  /** The peer broke the rules on this stream: it is told, and the stream is cut. @throws {Http2ConnectionError} at too many of them. */
  streamFault(streamId: number, code: number, reason: string): void;
  /** We reset the stream: frames of it that are on their way are to be ignored. */
  noteReset(streamId: number): void;
  /** On the wire, the stream is over: it counts no more. */
  wireClosed(): void;
  /** The stream is over: nothing refers to it any more. */
  forget(stream: OpenStream): void;
  /** Its listener has been told so. */
  streamClosed(): void;
}

/** What stands in for a listener until there is one. */
export const NO_LISTENER: Http2StreamListener = {
  interim: () => undefined,
  head: () => undefined,
  data: () => undefined,
  end: () => undefined,
  reset: () => undefined,
  drain: () => undefined,
  closed: () => undefined,
};

/** One stream, either side of it. What the connection calls stands below what the interface asks for. */
export class OpenStream implements Http2Stream {
  readonly id: number;
  listener: Http2StreamListener;
  headSent = false;
  sendEnded = false;
  isClosed = false;
  resetCode: number | null = null;
  /** How many body bytes the peer takes; below zero after it has lowered its setting (RFC 9113 section 6.9.2). */
  sendWindow: number;
  readonly #owner: StreamOwner;
  readonly #received = new ByteQueue();
  readonly #waiting = new ByteQueue();
  /** How many body bytes the peer may still send, and how many were taken since it was last told of. */
  #receiveWindow: number;
  #takenBytes = 0;
  /** Of a request: its response has no body whatever its head says. */
  #isBodyless = false;
  #contentLength = -1;
  #bodyBytes = 0;
  #interimCount = 0;
  #interimBytes = 0;
  #headReceived = false;
  /** END_STREAM has come; it has been delivered; it has been sent. */
  #remoteEnded = false;
  #endDelivered = false;
  #localEnded = false;
  #isCounted = true;
  #trailers: string[] = [];
  #trailersToSend: readonly string[] | null = null;
  #isPaused = false;
  #isDelivering = false;
  #discards = false;
  #wantsDrain = false;

  constructor(id: number, owner: StreamOwner, sendWindow: number, listener: Http2StreamListener = NO_LISTENER) {
    this.id = id;
    this.listener = listener;
    this.#owner = owner;
    this.sendWindow = sendWindow;
    this.#receiveWindow = owner.windowBytes;
  }

  sendInterim(fields: readonly string[]): void {
    if (this.isClosed || this.headSent) return;
    this.#owner.output.writeFields(this.id, fields, false);
  }

  sendHead(fields: readonly string[], { ends = false, neverIndexed }: SendHeadOptions = {}): void {
    if (this.isClosed || this.headSent) return;
    this.#owner.output.writeFields(this.id, fields, ends, neverIndexed);
    this.headSent = true;
    if (!ends) return;
    this.sendEnded = true;
    this.#localEnd();
  }

  sendData(bytes: Buffer): boolean {
    if (this.isClosed || this.sendEnded) return true;
    if (!this.headSent) throw new TypeError('the head of a message is sent before its body');
    let at = 0;
    if (this.#waiting.length === 0) {
      const { output } = this.#owner;
      for (;;) {
        const left = bytes.length - at;
        const count = Math.min(left, MAX_FRAME_BYTES, this.sendWindow, output.room);
        if (count <= 0) break;
        this.sendWindow -= count;
        output.writeData(this.id, bytes, at, at + count, false, left - count);
        at += count;
      }
    }
    if (at === bytes.length && this.#waiting.length === 0) return true;
    this.#waiting.push(bytes, at, bytes.length);
    if (this.sendWindow > 0) this.#owner.output.enqueue(this);
    if (this.#waiting.length < HIGH_WATER_BYTES) return true;
    this.#wantsDrain = true;
    return false;
  }

  end(trailers: readonly string[] | null = null): void {
    if (this.isClosed || this.sendEnded) return;
    if (!this.headSent) throw new TypeError('the head of a message is sent before its end');
    const fields = trailers === null || trailers.length === 0 ? null : [...trailers];
    if (fields !== null && this.#waiting.length > 0) this.#owner.output.encoder.check(fields, true);
    if (this.#waiting.length > 0) {
      this.#trailersToSend = fields;
      this.sendEnded = true;
      return;
    }
    if (fields === null) this.#owner.output.writeEnd(this.id);
    else this.#owner.output.writeFields(this.id, fields, true, undefined, true);
    this.sendEnded = true;
    this.#localEnd();
  }

  reset(code: number): void {
    if (this.isClosed) return;
    this.resetCode = code;
    if (!this.#localEnded || !this.#remoteEnded) {
      this.#owner.output.writeReset(this.id, code);
      this.#owner.noteReset(this.id);
    }
    this.#close();
  }

  pause(): void {
    this.#isPaused = !this.#discards;
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#deliver();
  }

  discardRest(): void {
    if (this.isClosed || this.#discards) return;
    this.#discards = true;
    this.#isPaused = false;
    this.#takeCredit(this.#received.clear());
    if (this.#remoteEnded) this.#endDelivered = true;
    else if (this.#localEnded) this.reset(ERROR_CODE.noError);
    this.#closeIfOver();
  }

  /** Server's side: the request's head has come. */
  receiveRequest(list: FieldList, ends: boolean): void {
    this.#headReceived = true;
    this.#contentLength = list.contentLength;
    this.#remoteEnded = ends;
  }

  /** Client's side: the request's head has been sent. */
  sentRequest(method: string, ends: boolean): void {
    this.headSent = true;
    this.#isBodyless = method === 'HEAD';
    this.sendEnded = ends;
    this.#localEnded = ends;
  }

  /** Whether the next list of fields is the trailers. */
  get expectsTrailers(): boolean {
    return this.#headReceived;
  }

  /** Whether the peer has ended its side: only few frames may still come. */
  get remoteEnded(): boolean {
    return this.#remoteEnded;
  }

  /** Client's side: a response's head has come, interim or final. */
  receiveResponse(list: FieldList, ends: boolean): void {
    const { status, fields } = list;
    if (status < 200) {
      this.#interimCount += 1;
      this.#interimBytes += list.bytes;
      // Together no longer than one list: a few octets can refer to a whole one, and windows do not hold them back.
      if (this.#interimCount > this.#owner.maxInterimResponses || this.#interimBytes > list.maxBytes) {
        this.#owner.streamFault(this.id, ERROR_CODE.enhanceYourCalm, 'there are too many interim responses');
      } else {
        this.listener.interim(fields);
      }
      return;
    }
    const hasNoBody = this.#isBodyless || status === NO_CONTENT || status === NOT_MODIFIED;
    this.#contentLength = hasNoBody ? 0 : list.contentLength;
    if (ends && this.#contentLength > 0) {
      this.#owner.streamFault(this.id, ERROR_CODE.protocolError, 'the body is shorter than its Content-Length');
      return;
    }
    this.#headReceived = true;
    this.#remoteEnded = ends;
    this.listener.head(fields, ends);
    if (ends) this.deliverEnd();
  }

  /** Trailers have come. They end the peer's side. */
  receiveTrailers(fields: string[]): void {
    if (!this.#isWhole(0, true)) return;
    this.#trailers = fields;
    this.#remoteEnded = true;
    this.deliverEnd();
  }

  /**
   * Body data have come; the connection's window has been charged with `flowBytes`, which includes padding, and opened again.
   *
   * @throws {Http2ConnectionError} `FLOW_CONTROL_ERROR`
   */
  receiveData(source: Buffer, start: number, end: number, flowBytes: number, ends: boolean): void {
    const owner = this.#owner;
    if (this.#remoteEnded) {
      owner.streamFault(this.id, ERROR_CODE.streamClosed, 'DATA comes behind the end of its stream');
      return;
    }
    this.#receiveWindow -= flowBytes;
    if (this.#receiveWindow < 0) {
      throw flowControlError('DATA exceeds the window of its stream');
    }
    const length = end - start;
    if (!this.#headReceived || !this.#isWhole(length, ends)) {
      if (!this.isClosed) owner.streamFault(this.id, ERROR_CODE.protocolError, 'DATA comes before its head');
      return;
    }
    this.#remoteEnded = ends;
    if (flowBytes > length) this.#takeCredit(flowBytes - length);
    if (this.#discards) {
      this.#takeCredit(length);
    } else if (this.#isPaused || this.#received.length > 0) {
      this.#received.push(source, start, end);
    } else if (length > 0) {
      this.#isDelivering = true;
      this.listener.data(source.subarray(start, end));
      this.#isDelivering = false;
      this.#takeCredit(length);
    }
    if (ends) this.deliverEnd();
  }

  /** Counts body bytes against Content-Length (RFC 9113 section 8.1.1); false when they do not fit and the stream was cut. */
  #isWhole(length: number, ends: boolean): boolean {
    this.#bodyBytes += length;
    const expected = this.#contentLength;
    if (expected === -1 || (ends ? this.#bodyBytes === expected : this.#bodyBytes <= expected)) return true;
    this.#owner.streamFault(this.id, ERROR_CODE.protocolError, 'the body is not as long as its Content-Length');
    return false;
  }

  /** The peer has reset the stream. */
  receiveReset(code: number): void {
    this.cut(code);
  }

  /** The stream ends early: by the peer, for a fault of its, or with the connection. A whole response is delivered nevertheless. */
  cut(code: number): void {
    if (this.isClosed) return;
    this.resetCode = code;
    if (this.#owner.role === 'client' && this.#remoteEnded) {
      this.#waiting.clear();
      this.#owner.output.dequeue(this);
      this.sendEnded = true;
      this.#localEnd();
      return;
    }
    this.#close(code);
  }

  /** The peer takes more. @throws {Http2ConnectionError} beyond all bounds, where `isSetting` says that it was a setting. */
  widen(bytes: number, isSetting: boolean): void {
    this.sendWindow += bytes;
    if (this.sendWindow > MAX_INT31) {
      const reason = 'a window is made too large';
      if (isSetting) throw flowControlError(reason);
      this.#owner.streamFault(this.id, ERROR_CODE.flowControlError, reason);
      return;
    }
    if (this.#waiting.length === 0) return;
    if (this.sendWindow > 0) this.#owner.output.enqueue(this);
    else this.#owner.output.dequeue(this);
  }

  /** Sends one frame of what waits, of which the connection has room for; true when another one can be sent. */
  sendWaiting(): boolean {
    const { output } = this.#owner;
    const bytes = this.#waiting.take(Math.min(MAX_FRAME_BYTES, this.sendWindow, output.room));
    this.sendWindow -= bytes.length;
    const left = this.#waiting.length;
    const isLast = left === 0 && this.sendEnded;
    output.writeData(this.id, bytes, 0, bytes.length, isLast && this.#trailersToSend === null, left);
    if (isLast) {
      if (this.#trailersToSend !== null) output.writeFields(this.id, this.#trailersToSend, true, undefined, true);
      this.#localEnd();
      return false;
    }
    if (this.#wantsDrain && left <= LOW_WATER_BYTES && !this.sendEnded) {
      this.#wantsDrain = false;
      this.listener.drain();
    }
    return !this.isClosed && this.#waiting.length > 0 && this.sendWindow > 0;
  }

  /** Tells of the peer's end, if it has come and everything before it is delivered. */
  deliverEnd(): void {
    const isNext = this.#remoteEnded && this.#received.length === 0 && !this.#isDelivering;
    if (!isNext || this.#isPaused || this.#endDelivered || this.isClosed) return;
    this.#endDelivered = true;
    if (!this.#discards) this.listener.end(this.#trailers);
    this.#closeIfOver();
  }

  #deliver(): void {
    if (this.#isDelivering) return;
    this.#isDelivering = true;
    while (this.#received.length > 0 && !this.#isPaused) {
      const bytes = this.#received.take(MAX_FRAME_BYTES);
      this.listener.data(bytes);
      this.#takeCredit(bytes.length);
    }
    this.#isDelivering = false;
    this.deliverEnd();
  }

  /** Received bytes were taken: the peer may send as many again. */
  #takeCredit(bytes: number): void {
    if (bytes === 0) return;
    const owner = this.#owner;
    if (this.#remoteEnded || this.isClosed) return;
    this.#takenBytes += bytes;
    if (this.#takenBytes < owner.windowBytes / 2) return;
    this.#receiveWindow += this.#takenBytes;
    owner.output.writeWindowUpdate(this.id, this.#takenBytes);
    this.#takenBytes = 0;
  }

  /** END_STREAM has been sent. */
  #localEnd(): void {
    this.#localEnded = true;
    if (this.#discards && !this.#remoteEnded) this.reset(ERROR_CODE.noError);
    else this.#closeIfOver();
  }

  #closeIfOver(): void {
    if (!this.#localEnded || !this.#remoteEnded || this.isClosed) return;
    if (this.#isCounted) {
      this.#isCounted = false;
      this.#owner.wireClosed();
    }
    if (this.#endDelivered) this.#close();
  }

  /** With a code, it is a reset that the listener has not asked for. */
  #close(code: number | null = null): void {
    this.isClosed = true;
    if (this.#isCounted) {
      this.#isCounted = false;
      this.#owner.wireClosed();
    }
    this.#waiting.clear();
    this.#owner.output.dequeue(this);
    this.#received.clear();
    this.#owner.forget(this);
    if (code !== null) this.listener.reset(code);
    this.listener.closed();
    this.#owner.streamClosed();
  }
}

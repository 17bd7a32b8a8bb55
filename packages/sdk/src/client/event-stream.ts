/** One event of a `text/event-stream`. */
export interface StreamEvent {
  readonly id: string | undefined;
  readonly type: string;
  readonly data: string;
}

/** Reads an event stream (HTML Living Standard, section 9.2.6), as far as the daemon writes it: UTF-8, lines end with LF. */
export async function* readEvents(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<StreamEvent, void, undefined> {
  const decoder = new TextDecoder();
  let rest = '';
  let parts: string[] = [];
  for await (const chunk of chunks) {
    const text = decoder.decode(chunk, { stream: true });
    // A long event comes in many chunks: what has no end yet is joined once, not each time.
    if (!text.includes('\n')) {
      parts.push(text);
      continue;
    }
    rest = [rest, ...parts, text].join('');
    parts = [];
    let start = 0;
    for (let end = rest.indexOf('\n\n'); end >= 0; end = rest.indexOf('\n\n', start)) {
      const event = parseEvent(rest.slice(start, end));
      start = end + 2;
      if (event !== undefined) yield event;
    }
    rest = rest.slice(start);
  }
}

function parseEvent(block: string): StreamEvent | undefined {
  let id: string | undefined;
  let type = 'message';
  const data: string[] = [];
  for (const line of block.split('\n')) {
    const colon = line.indexOf(':');
    if (colon < 1) continue;
    const value = line.slice(colon + 1).replace(/^ /, '');
    switch (line.slice(0, colon)) {
      case 'id':
        id = value;
        break;
      case 'event':
        type = value;
        break;
      case 'data':
        data.push(value);
        break;
      default:
    }
  }
  return data.length === 0 ? undefined : { id, type, data: data.join('\n') };
}

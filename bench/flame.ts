/**
 * Draws a CPU profile of V8 (`node --cpu-prof`) as a flame chart in SVG.
 *
 *     node bench/flame.ts PROFILE.cpuprofile CHART.svg [TITLE]
 *
 * Frames are merged by their stacks; the first part of the profile, in which the program starts and warms up, is left out.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { pathToFileURL } from 'node:url';
import { escapeXml } from './lab/chart.ts';

/** What V8 writes, as far as it is read here. Times are in microseconds. */
export interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
    readonly children?: readonly number[];
  }[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

/** One frame of the chart with the time that was spent in it and below. */
export interface Flame {
  readonly name: string;
  readonly isOwn: boolean;
  time: number;
  readonly children: Map<string, Flame>;
}

/** The share of the profile that is left out at its beginning. */
const WARM_UP_SHARE = 0.35;
/** Frames under this share of the whole are not drawn. */
const MIN_SHARE = 0.003;
const MAX_DEPTH = 40;
const WIDTH = 1200;
const ROW_HEIGHT = 16;
const CHARACTER_WIDTH = 6.2;
const NOT_WORK = new Set(['(idle)', '(root)']);

/** Merges the samples of a profile into one tree; what is idle is not in it. */
export function foldProfile(profile: CpuProfile): Flame {
  const byId = new Map(profile.nodes.map((node) => [node.id, node]));
  const parentOf = new Map<number, number>();
  for (const node of profile.nodes) for (const child of node.children ?? []) parentOf.set(child, node.id);
  const root: Flame = { name: 'all', isOwn: false, time: 0, children: new Map() };
  for (let index = Math.floor(profile.samples.length * WARM_UP_SHARE); index < profile.samples.length; index += 1) {
    const stack = [];
    for (let id = profile.samples[index]; id !== undefined; id = parentOf.get(id)) {
      const frame = byId.get(id)?.callFrame;
      if (frame !== undefined) stack.unshift(frame);
    }
    if (stack.at(-1)?.functionName === '(idle)') continue;
    const time = profile.timeDeltas[index] ?? 0;
    let flame = root;
    flame.time += time;
    for (const { functionName, url, lineNumber } of stack) {
      if (NOT_WORK.has(functionName)) continue;
      const name = `${functionName === '' ? 'anonymous' : functionName}${url === '' ? '' : ` ${basename(url)}:${lineNumber + 1}`}`;
      let next = flame.children.get(name);
      if (next === undefined) {
        next = { name, isOwn: url.includes('/packages/runtime/'), time: 0, children: new Map() };
        flame.children.set(name, next);
      }
      next.time += time;
      flame = next;
    }
  }
  return root;
}

/** Draws the tree, the root at the bottom. */
export function drawFlames(root: Flame, title: string): string {
  const boxes: { x: number; depth: number; width: number; flame: Flame }[] = [];
  const place = (flame: Flame, x: number, depth: number): void => {
    const width = (flame.time / root.time) * WIDTH;
    if (flame.time / root.time < MIN_SHARE || depth > MAX_DEPTH) return;
    boxes.push({ x, depth, width, flame });
    let at = x;
    for (const child of [...flame.children.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
      place(child, at, depth + 1);
      at += (child.time / root.time) * WIDTH;
    }
  };
  place(root, 0, 0);
  const depth = Math.max(0, ...boxes.map((box) => box.depth)) + 1;
  const height = (depth + 2) * ROW_HEIGHT;
  const lines = boxes.map(({ x, depth: row, width, flame }) => {
    const y = height - (row + 1) * ROW_HEIGHT;
    const share = `${((flame.time / root.time) * 100).toFixed(1)} %`;
    const room = Math.floor((width - 4) / CHARACTER_WIDTH);
    const label = room < 4 ? '' : flame.name.length <= room ? flame.name : `${flame.name.slice(0, room - 1)}…`;
    const color = flame.isOwn ? '#e8a33d' : '#b9c4d0';
    return (
      `<g><title>${escapeXml(`${flame.name}: ${share}`)}</title>` +
      `<rect x="${x.toFixed(1)}" y="${y}" width="${Math.max(0.5, width - 0.5).toFixed(1)}" height="${ROW_HEIGHT - 1}" fill="${color}"/>` +
      (label === '' ? '' : `<text x="${(x + 2).toFixed(1)}" y="${y + 11}">${escapeXml(label)}</text>`) +
      '</g>'
    );
  });
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="monospace" font-size="10">\n` +
    `<rect width="${WIDTH}" height="${height}" fill="#ffffff"/>\n` +
    `<text x="4" y="14" font-size="12">${escapeXml(title)}</text>\n${lines.join('\n')}\n</svg>\n`
  );
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [profile, chart, title = 'CPU time by stack; our own code is orange'] = process.argv.slice(2);
  if (profile === undefined || chart === undefined) {
    process.stderr.write('Usage: node bench/flame.ts PROFILE.cpuprofile CHART.svg [TITLE]\n');
    process.exit(64);
  }
  writeFileSync(chart, drawFlames(foldProfile(JSON.parse(readFileSync(profile, 'utf8')) as CpuProfile), title));
}

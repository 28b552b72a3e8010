/** Where every box and every line of a drawing goes: open modules are frames, laid out inside first, then as one box among others. */

import type { Edge, Shape } from "./graph";
import { shapeText } from "./graph";
import type { Part } from "./folding";
import { arrange, type Cell, type Link } from "./lanes";

export interface Box {
  part: Part;
  x: number;
  y: number;
  width: number;
  height: number;
  /** A frame around an open module. */
  open: boolean;
}

export interface Point {
  x: number;
  y: number;
}

export interface Line {
  key: string;
  /** Layers: the one that made the tensor, and those that read it by this line. */
  source: string;
  targets: string[];
  /** Straight down between the first two, swung between the 2nd and the 3rd, straight down again, and so on. */
  points: Point[];
  /** Ends at a box, not at a frame's edge. */
  arrow: boolean;
  /** Shape of the tensor, on the first line that leaves a box with it. */
  shape: string;
  /** It is written left of the line: others come or go on the right. */
  leftward: boolean;
}

export interface Drawn {
  boxes: Box[];
  lines: Line[];
  width: number;
  height: number;
}

export const BOX = { width: 196, height: 44 } as const;
const FRAME = { side: 14, top: 28, bottom: 2 } as const;
const MARGIN = 16;

interface Inner {
  boxes: Box[];
  lines: Line[];
  left: number;
  right: number;
  height: number;
  /** x of each tensor where it enters and leaves, from the axis. */
  enters: Map<string, number>;
  leaves: Map<string, number>;
}

export function layOut(parts: readonly Part[], edges: readonly Edge[], open: ReadonlySet<string>): Drawn {
  const { boxes, lines, left, right, height } = level(parts, edges, open);
  const shift = { x: left + MARGIN, y: MARGIN };
  return { ...moved(boxes, lines, shift), width: left + right + 2 * MARGIN, height: height + 2 * MARGIN };
}

function moved(boxes: readonly Box[], lines: readonly Line[], by: Point): { boxes: Box[]; lines: Line[] } {
  return {
    boxes: boxes.map((box) => ({ ...box, x: box.x + by.x, y: box.y + by.y })),
    lines: lines.map((line) => ({ ...line, points: line.points.map(({ x, y }) => ({ x: x + by.x, y: y + by.y })) })),
  };
}

interface Way extends Link {
  tensor: string;
  source: string;
  targets: string[];
  shape: Shape;
}

function level(parts: readonly Part[], edges: readonly Edge[], open: ReadonlySet<string>): Inner {
  const insides = new Map<Cell, Inner>();
  const partOf = new Map<Cell, Part>();
  const cellOf = new Map<string, Cell>();
  const main: Cell[] = parts.map((part) => {
    const inside = open.has(part.key) && part.parts.length ? level(part.parts, edges, open) : undefined;
    const cell: Cell = inside
      ? { left: inside.left + FRAME.side, right: inside.right + FRAME.side, height: inside.height + FRAME.top + FRAME.bottom, rank: 0, x: 0, y: 0, bottom: 0, weight: part.ids.length }
      : { left: BOX.width / 2, right: BOX.width / 2, height: BOX.height, rank: 0, x: 0, y: 0, bottom: 0, weight: part.ids.length }; // prettier-ignore
    if (inside) widen(cell);
    if (inside) insides.set(cell, inside);
    partOf.set(cell, part);
    for (const id of part.ids) cellOf.set(id, cell);
    return cell;
  });
  const enters = new Map<string, Cell>();
  const leaves = new Map<string, Cell>();
  const ways = new Map<string, Way>();
  for (const { source, target, output, shape } of edges) {
    const tensor = `${source}>${output}`;
    const [inner, outer] = [cellOf.get(source), cellOf.get(target)];
    if (inner === outer) continue;
    const from = inner ?? port(enters, tensor, "first");
    const to = outer ?? port(leaves, tensor, "last");
    const key = `${tensor}>${outer ? (partOf.get(outer)?.key ?? "") : "out"}`;
    const way = ways.get(key);
    if (way) way.targets.push(target);
    else ways.set(key, { from, to, pieces: [], tensor, source, targets: [target], shape });
  }
  const cells = [...enters.values(), ...main, ...leaves.values()];
  const links = [...ways.values()];
  const { left, right, height } = arrange(cells, links);
  const found: Inner = { boxes: [], lines: [], left, right, height, enters: xs(enters), leaves: xs(leaves) };
  for (const cell of main) {
    const [part, inside] = [partOf.get(cell), insides.get(cell)];
    if (!part) continue;
    found.boxes.push({
      part,
      x: cell.x - cell.left,
      y: cell.y,
      width: cell.left + cell.right,
      height: cell.height,
      open: !!inside,
    });
    if (!inside) continue;
    const within = moved(inside.boxes, inside.lines, { x: cell.x, y: cell.y + FRAME.top });
    found.boxes.push(...within.boxes);
    found.lines.push(...within.lines, ...stubs(inside, cell, part.key));
  }
  found.lines.push(...drawLines(ways, insides, partOf));
  return found;
}

/** A frame is at least as wide as a box, so that its name fits. */
function widen(cell: Cell): void {
  const lacking = Math.max(0, BOX.width - cell.left - cell.right) / 2;
  cell.left += lacking;
  cell.right += lacking;
}

function port(ports: Map<string, Cell>, tensor: string, end: "first" | "last"): Cell {
  const cell = ports.get(tensor) ?? { left: 6, right: 6, height: 0, rank: 0, x: 0, y: 0, bottom: 0, weight: 0, end };
  ports.set(tensor, cell);
  return cell;
}

function xs(ports: ReadonlyMap<string, Cell>): Map<string, number> {
  return new Map([...ports].map(([tensor, cell]) => [tensor, cell.x]));
}

/** Lines from a frame's edge to where its inside begins, and at its lower edge. */
function stubs(inside: Inner, cell: Cell, key: string): Line[] {
  const piece = (tensor: string, x: number, from: number, to: number, end: string): Line => ({
    key: `${key} ${end} ${tensor}`,
    source: tensor.slice(0, tensor.lastIndexOf(">")),
    targets: [],
    points: [{ x: cell.x + x, y: cell.y + from }, { x: cell.x + x, y: cell.y + to }],
    arrow: false,
    shape: "",
    leftward: false,
  }); // prettier-ignore
  return [
    ...[...inside.enters].map(([tensor, x]) => piece(tensor, x, 0, FRAME.top, "in")),
    ...[...inside.leaves].map(([tensor, x]) => piece(tensor, x, FRAME.top + inside.height, cell.height, "out")),
  ];
}

function drawLines(ways: ReadonlyMap<string, Way>, insides: ReadonlyMap<Cell, Inner>, partOf: ReadonlyMap<Cell, Part>): Line[] {
  const told = new Set<string>();
  const within = [...partOf.values()][0]?.parent?.key ?? "";
  const arriving = new Map<Cell, Way[]>();
  for (const way of ways.values()) arriving.set(way.to, [...(arriving.get(way.to) ?? []), way]);
  return [...ways].map(([key, way]) => {
    const { from, to, pieces, tensor } = way;
    const start = from.x + (insides.get(from)?.leaves.get(tensor) ?? 0);
    const end = to.x + (insides.get(to)?.enters.get(tensor) ?? (partOf.has(to) && !insides.has(to) ? slot(way, arriving.get(to) ?? []) : 0)); // prettier-ignore
    const points = [
      { x: start, y: from.y + from.height },
      { x: start, y: from.bottom },
      ...pieces.flatMap((piece) => [{ x: piece.x, y: piece.y }, { x: piece.x, y: piece.y + piece.height }]),
      { x: end, y: to.y },
    ]; // prettier-ignore
    // A frame's own layer says it within.
    const first = partOf.has(from) && !insides.has(from) && !told.has(tensor);
    told.add(tensor);
    return {
      key: `${within} ${key}`,
      source: way.source,
      targets: way.targets,
      points,
      arrow: partOf.has(to) && !insides.has(to),
      shape: first ? shapeText(way.shape) : "",
      leftward: crowded(way, [...ways.values()]),
    };
  });
}

/** Whether its right is where it swings to, or where others leave beside it or arrive where it does, and its left is free. */
function crowded(way: Way, all: readonly Way[]): boolean {
  const own = (way.pieces[0] ?? way.to).x - way.from.x;
  if (own !== 0) return own > 0;
  const sides = all.flatMap(({ from, to, pieces }) => [
    ...(from === way.from ? [(pieces[0] ?? to).x - from.x] : []),
    ...(to === way.to && !way.pieces.length ? [(pieces.at(-1) ?? from).x - to.x] : []),
  ]);
  return sides.some((side) => side > 0) && !sides.some((side) => side < 0);
}

/** Where a line meets the top of a box that others meet too: in the order in which they come, the straight one in the middle. */
function slot(way: Way, all: readonly Way[]): number {
  const comes = ({ from, pieces }: Way) => pieces.at(-1)?.x ?? from.x;
  const x = comes(way);
  const same = Math.sign(x - way.to.x);
  const others = all.filter((other) => Math.sign(comes(other) - way.to.x) === same);
  const place = others.sort((a, b) => Math.abs(comes(a) - way.to.x) - Math.abs(comes(b) - way.to.x)).indexOf(way);
  if (same === 0) return place * 12;
  return same * Math.min(18 + 14 * place, BOX.width / 2 - 8);
}

/** A line as the path of an SVG. */
export function pathOf({ points }: Line): string {
  const [first, ...rest] = points;
  if (!first) return "";
  let path = `M${first.x} ${first.y}`;
  let last = first;
  for (const [i, point] of rest.entries()) {
    const middle = (last.y + point.y) / 2;
    // Straight beside the boxes of a rank, swung through the gap between two.
    path += i % 2 === 0 || last.x === point.x ? `L${point.x} ${point.y}` : `C${last.x} ${middle} ${point.x} ${middle} ${point.x} ${point.y}`; // prettier-ignore
    last = point;
  }
  return path;
}

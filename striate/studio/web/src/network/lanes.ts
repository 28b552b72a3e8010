/** One level of a drawing: boxes in ranks from top to bottom, the longest way straight down the middle, all else in lanes beside it. */

/** What stands in a rank: a box, a place where a tensor enters or leaves, or a piece of a line that passes by. */
export interface Cell {
  /** Extent from its axis, where lines meet it. */
  left: number;
  right: number;
  height: number;
  /** 0 at the top. */
  rank: number;
  /** Of its axis. */
  x: number;
  /** Of its top. */
  y: number;
  /** Where its rank ends, which may hold higher ones. */
  bottom: number;
  /** How much of the network is in it: the heaviest way is the middle one; 0: a place, or a piece of a line. */
  weight: number;
  /** Stands in the first or the last rank. */
  end?: "first" | "last";
}

/** From one cell to another, through a piece in every rank between. */
export interface Link {
  from: Cell;
  to: Cell;
  pieces: Cell[];
}

export interface Level {
  left: number;
  right: number;
  height: number;
}

const GAP = 34;
/** To where tensors enter and leave a frame. */
const END_GAP = 24;
const APART = 18;
const PIECE = 7;

/** Sets ranks, x and y of the cells, and the pieces of the links. The cells come in an order in which every link goes forward. */
export function arrange(cells: readonly Cell[], links: readonly Link[]): Level {
  rank(cells, links);
  const spine = heaviest(cells, links);
  const all = [...cells];
  for (const link of links) {
    for (let between = link.from.rank + 1; between < link.to.rank; between++) {
      const piece = { left: PIECE, right: PIECE, height: 0, rank: between, x: 0, y: 0, bottom: 0, weight: 0 };
      link.pieces.push(piece);
      all.push(piece);
    }
    // A line between two boxes of the middle way, that no other way between them is longer than.
    if (spine.get(link.from) === link.to) for (const piece of link.pieces) spine.set(piece, link.to);
  }
  place(all, links, new Set(spine.keys()));
  return setRows(all);
}

function rank(cells: readonly Cell[], links: readonly Link[]): void {
  for (const cell of cells) {
    const before = links.filter((link) => link.to === cell).map((link) => link.from.rank + 1);
    const least = cells.some(({ end }) => end === "first") && cell.end !== "first" ? 1 : 0;
    cell.rank = Math.max(least, ...before);
  }
  const last = Math.max(0, ...cells.filter(({ end }) => end !== "last").map((cell) => cell.rank)) + 1;
  for (const cell of cells) if (cell.end === "last") cell.rank = last;
  // What reads nothing (another input) stands right above its reader.
  for (const cell of cells) {
    const readers = links.filter((link) => link.from === cell).map((link) => link.to.rank);
    if (!cell.end && readers.length && !links.some((link) => link.to === cell)) cell.rank = Math.min(...readers) - 1;
  }
}

/** The cells of the heaviest way, each with the next one. */
function heaviest(cells: readonly Cell[], links: readonly Link[]): Map<Cell, Cell | undefined> {
  const best = new Map<Cell, { weight: number; before: Cell | undefined }>();
  for (const cell of cells) {
    let weight = 0;
    let before: Cell | undefined;
    for (const { from, to } of links) {
      const way = to === cell ? best.get(from) : undefined;
      if (way && way.weight + 1e-6 > weight) ({ weight, before } = { weight: way.weight + 1e-6, before: from });
    }
    best.set(cell, { weight: weight + cell.weight, before });
  }
  let end: Cell | undefined;
  for (const [cell, { weight }] of best) if (!end || weight > (best.get(end)?.weight ?? 0)) end = cell;
  const spine = new Map<Cell, Cell | undefined>();
  for (let cell = end, next: Cell | undefined; cell; next = cell, cell = best.get(cell)?.before) spine.set(cell, next);
  return spine;
}

/** Lanes beside the middle way: what hangs together keeps a lane, the shorter ones stand further in. */
function place(all: readonly Cell[], links: readonly Link[], spine: ReadonlySet<Cell>): void {
  const taken = { left: new Map<number, number>(), right: new Map<number, number>() };
  for (const cell of all) {
    if (!spine.has(cell)) continue;
    cell.x = 0;
    taken.left.set(cell.rank, cell.left);
    taken.right.set(cell.rank, cell.right);
  }
  const lanes = groups(all, links, spine).map((group) => ({
    columns: columns(group, links),
    from: Math.min(...group.map((cell) => cell.rank)),
    to: Math.max(...group.map((cell) => cell.rank)),
    line: group.every((cell) => cell.weight === 0),
  }));
  lanes.sort((a, b) => a.to - a.from - (b.to - b.from) || Number(b.line) - Number(a.line));
  for (const lane of lanes) {
    const width = (side: "left" | "right") => Math.max(...range(lane.from, lane.to).map((row) => taken[side].get(row) ?? 0));
    const side = lane.line || width("right") < width("left") ? "right" : "left";
    const inner = side === "right" ? "left" : "right";
    for (const column of lane.columns) {
      // A column is one straight line; it stays clear of every rank that its lane spans.
      const x = Math.max(...column.map((cell) => (taken[side].get(cell.rank) ?? 0) + APART + cell[inner]));
      for (const cell of column) {
        cell.x = side === "right" ? x : -x;
        taken[side].set(cell.rank, x + cell[side]);
      }
    }
  }
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, i) => from + i);
}

/** The cells beside the spine, those that lines join together. */
function groups(all: readonly Cell[], links: readonly Link[], spine: ReadonlySet<Cell>): Cell[][] {
  const heads = new Map(all.map((cell) => [cell, cell]));
  const head = (cell: Cell): Cell => {
    const up = heads.get(cell) ?? cell;
    if (up === cell) return cell;
    const top = head(up);
    heads.set(cell, top);
    return top;
  };
  for (const { from, pieces, to } of links) {
    const way = [from, ...pieces, to].filter((cell) => !spine.has(cell));
    for (const cell of way) if (way[0]) heads.set(head(cell), head(way[0]));
  }
  const found = new Map<Cell, Cell[]>();
  for (const cell of all) if (!spine.has(cell)) found.set(head(cell), [...(found.get(head(cell)) ?? []), cell]);
  return [...found.values()];
}

/** A group as columns, at most one cell a rank in each; a cell stands in the column of what it reads where that is free. */
function columns(group: readonly Cell[], links: readonly Link[]): Cell[][] {
  const found: Cell[][] = [];
  const at = new Map<Cell, number>();
  const before = new Map<Cell, Cell[]>();
  for (const { from, pieces, to } of links) {
    const way = [from, ...pieces, to];
    for (const [i, cell] of way.entries()) {
      const last = way[i - 1];
      if (last) before.set(cell, [...(before.get(cell) ?? []), last]);
    }
  }
  for (const cell of [...group].sort((a, b) => a.rank - b.rank || b.weight - a.weight)) {
    const wanted = (before.get(cell) ?? []).flatMap((one) => at.get(one) ?? []);
    const free = (column: number) => !found[column]?.some((other) => other.rank === cell.rank);
    let column = Math.min(...wanted.filter(free), Infinity);
    if (column === Infinity) for (column = 0; !free(column); column++);
    (found[column] ??= []).push(cell);
    at.set(cell, column);
  }
  return found.filter(Boolean);
}

/** Ranks one below the other; a piece of a line is as high as its rank. */
function setRows(all: readonly Cell[]): Level {
  const rows: Cell[][] = [];
  for (const cell of all) (rows[cell.rank] ??= []).push(cell);
  let y = 0;
  for (const row of rows.filter(Boolean)) {
    const height = Math.max(...row.map((cell) => cell.height));
    for (const cell of row) {
      cell.y = y;
      cell.bottom = y + height;
      if (cell.weight === 0 && !cell.end) cell.height = height;
    }
    y += height + (row.some(({ end }) => end) || rows[(row[0]?.rank ?? 0) + 1]?.some(({ end }) => end) ? END_GAP : GAP);
  }
  return {
    left: Math.max(0, ...all.map((cell) => cell.left - cell.x)),
    right: Math.max(0, ...all.map((cell) => cell.right + cell.x)),
    height: Math.max(0, ...all.map((cell) => cell.bottom)),
  };
}

/** Names of boxes, and where an arrow key leads from one. */

import { around, type Part } from "./folding";
import type { Edge } from "./graph";
import type { Box } from "./layout";

export type Direction = "down" | "up" | "left" | "right";

/** What a box says in its first line: what is done. */
export function nameOf(part: Part): string {
  if (part.mark === "broken") return `✕ ${part.path || "forward()"}`;
  return part.node ? part.node.label : part.title;
}

/** And in its second: where. */
export function underOf(part: Part): string {
  if (part.mark === "broken") return part.title;
  if (part.mark === "output") return "what it returns";
  if (part.node) return part.node.operation === "input" ? "the image" : part.key;
  return part.path;
}

/** A path as it is called within the module around it. */
export function within(part: Part, path: string): string {
  const outer = around(part).find((one) => one.path && path !== one.path && path.startsWith(one.path))?.path ?? "";
  const rest = path.slice(outer.length).replace(/^\./, "");
  // A number alone says too little.
  return /^\d+$/.test(rest) ? path.split(".").slice(-2).join(".") : rest;
}

/** A text of at most so many letters: its beginning and its end. */
export function short(text: string, most: number): string {
  return text.length <= most ? text : `${text.slice(0, most / 3)}…${text.slice(-(most - most / 3 - 1))}`;
}

/** The box that an arrow leads to: down and up along the lines, right and left among those that share an end; undefined: none. */
export function step(boxes: readonly Box[], edges: readonly Edge[], from: Part, way: Direction): string | undefined {
  const boxOf = new Map(boxes.flatMap((box) => box.part.ids.map((id) => [id, box] as const)));
  const own = new Set(from.ids);
  const next = (ids: ReadonlySet<string>, onward: boolean): Box[] => {
    const ends = edges.filter((edge) => ids.has(onward ? edge.source : edge.target));
    const found = ends.flatMap((edge) => boxOf.get(onward ? edge.target : edge.source) ?? []);
    return [...new Set(found)].filter((box) => !box.part.ids.some((id) => ids.has(id)));
  };
  const down = next(own, true);
  const up = next(own, false);
  // Of a frame: its edges' other ends may be within it.
  if (way === "down") return nearest(down, Math.min)?.part.key;
  if (way === "up") return nearest(up, Math.max)?.part.key;
  const here = boxOf.get(from.ids[0] ?? "");
  if (!here) return undefined;
  const beside = [...up.flatMap((box) => next(new Set(box.part.ids), true)), ...down.flatMap((box) => next(new Set(box.part.ids), false))]; // prettier-ignore
  const middle = (box: Box) => box.x + box.width / 2;
  const side = way === "right" ? 1 : -1;
  const ahead = beside.filter((box) => side * (middle(box) - middle(here)) > 1);
  return ahead.sort((a, b) => side * (middle(a) - middle(b)) || Math.abs(a.y - here.y) - Math.abs(b.y - here.y))[0]?.part.key;
}

/** Of several: the one that works next, or worked last; by their place down the page. */
function nearest(boxes: readonly Box[], pick: (...values: number[]) => number): Box | undefined {
  const y = pick(...boxes.map((box) => box.y));
  return boxes.find((box) => box.y === y);
}

/** Data as the studio audits them, and their pictures. */

import { address } from "../shell/api";

export interface Finding {
  level: "error" | "warning" | "note";
  text: string;
  fix: string;
}

export interface Audit {
  name: string;
  kind: "label" | "labels" | "value";
  classes: string[];
  num: number;
  num_bad: number;
  splits: Record<string, { num: number; counts: number[] }>;
  counts: number[];
  bad_counts: number[];
  formats: Record<string, number>;
  sizes: Record<"height" | "width", { min: number; median: number; max: number }>;
  traits: Record<string, number>;
  findings: Finding[];
  bad: { key: string; target: string; reason: string; why: string | null }[];
  num_duplicates: number;
  num_conflicts: number;
  duplicate_rule: string;
  num_corrected: number;
  /** Path of the table of corrected labels; it is there once there is a correction. */
  table: string;
  trainable: boolean;
}

export interface Sample {
  index: number;
  key: string;
  label: string;
  split: string;
  corrected: string | null;
  /** It cannot be read. */
  bad: boolean;
}

export interface Group {
  members: Sample[];
  difference: number;
  across_splits: boolean;
  labels_differ: boolean;
}

export interface Plane {
  axes: [string, string];
  index: number[];
  x: number[];
  y: number[];
  labels: string[];
}

/** Where a picture is fetched. */
export function thumbnail(data: string, index: number): string {
  return address("/api/data/thumbnail", { data, index });
}

/** Where it is fetched as large as a page can use. */
export function picture(data: string, index: number): string {
  return address("/api/data/picture", { data, index });
}

/** The nearest of some points to one of them in a direction (a quarter of the plane); undefined where there is none. */
export function toward(
  xs: readonly number[],
  ys: readonly number[],
  from: number,
  across: number,
  up: number,
): number | undefined {
  let best: number | undefined;
  let least = Infinity;
  for (let i = 0; i < xs.length; i++) {
    const [dx, dy] = [xs[i] - xs[from], ys[i] - ys[from]];
    const ahead = dx * across + dy * up;
    const beside = Math.abs(dx * up) + Math.abs(dy * across);
    if (i === from || ahead <= 0 || beside > ahead) continue;
    const distance = dx * dx + dy * dy;
    if (distance < least) [best, least] = [i, distance];
  }
  return best;
}

/** The classes that a map colours: the commonest, as many as there are colours; the others are grey. */
export function coloured(labels: readonly string[], most: number): string[] {
  const counted = new Map<string, number>();
  for (const label of labels) counted.set(label, (counted.get(label) ?? 0) + 1);
  return [...counted].sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0], undefined, { numeric: true })).slice(0, most).map(([label]) => label); // prettier-ignore
}

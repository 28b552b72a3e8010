/** Runs as the studio lists them, and their curves. */

import { NUM_COLOURS, type Series } from "../parts/charts";

export interface Run {
  name: string;
  path: string;
  /** `done`, `running, 3/20`, `stopped at 3/20`, `unreadable`. */
  status: string;
  model: string | null;
  recipe: string | null;
  data: string | null;
  created: string | null;
  epochs: number | null;
  seconds: number | null;
  accuracy: number | null;
}

/** One line of `metrics.jsonl`. */
export interface Epoch {
  epoch: number;
  step: number;
  seconds: number;
  images_per_second: number;
  lr: number;
  train: Record<string, number>;
  validation: Record<string, number | null>;
  monitor: string;
  best: boolean;
  skipped: number;
}

export interface History {
  run: string;
  epochs: number;
  rows: Epoch[];
}

export const CURVES = ["monitor", "validation loss", "training loss", "learning rate"] as const;
export type Curve = (typeof CURVES)[number];

/** The value of an epoch that a curve shows; null where it has none, or none that is finite. */
export function valueOf(row: Epoch, curve: Curve): number | null {
  const value = {
    monitor: row.validation[row.monitor],
    "validation loss": row.validation.loss,
    "training loss": row.train.loss,
    "learning rate": row.lr,
  }[curve];
  return value === undefined || !Number.isFinite(value) ? null : value;
}

/** One curve of several runs. */
export function overlay(histories: readonly History[], curve: Curve): Series[] {
  return histories.map(({ run, rows }, index) => ({
    name: run,
    colour: index % NUM_COLOURS,
    dashed: index >= NUM_COLOURS,
    points: rows
      .filter((row) => curve !== "monitor" || row.monitor in row.validation)
      .map((row) => [row.epoch, valueOf(row, curve)]),
  }));
}

export type Column = "name" | "model" | "data" | "recipe" | "epochs" | "seconds" | "accuracy" | "status" | "created";

/** The rows in the order of a column; what has no value comes last either way. */
export function sorted(runs: readonly Run[], column: Column, descending: boolean): Run[] {
  const sign = descending ? -1 : 1;
  return [...runs].sort((a, b) => {
    const [x, y] = [a[column], b[column]];
    if (x === null || y === null) return Number(x === null) - Number(y === null);
    return (
      sign *
      (typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), undefined, { numeric: true }))
    );
  });
}

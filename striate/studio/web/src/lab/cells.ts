// How each cell of the three grids looks and what a screen reader says of it.

import {
  cellOf,
  emptyValue,
  isPooling,
  item,
  kernelSize,
  sizeOf,
  span,
  valueAt,
  type Plane,
  type Setting,
  type Unit,
} from "./arithmetic";
import { written } from "./numbers";

export interface Cell {
  text: string;
  /** What is typed over when it is edited; null: not to be edited. */
  value: number | null;
  label: string;
  /** 0 (darkest) to 1 (brightest) of an image; null: not a pixel. */
  bright: number | null;
  /** −1 to 1 of a signed number; null: without colour. */
  sign: number | null;
  padding?: boolean;
  dropped?: boolean;
  /** Small print in the corner: the weight that lies on it. */
  corner?: string;
  /** Another mark: the lecture printed something else. */
  wrong?: boolean;
  /** The maximum of its window, or the product that is pointed at. */
  chosen?: boolean;
}

/** Where the window lies on the padded plane: cells from its top left. */
export interface Frame {
  row: number;
  column: number;
  height: number;
  width: number;
}

export function frameOf(setting: Setting, row: number, column: number): Frame {
  const { height, width } = kernelSize(setting);
  const { stride, dilation } = setting;
  return { row: row * stride, column: column * stride, height: span(height, dilation), width: span(width, dilation) };
}

export const place = (row: number, column: number): string => `row ${row}, column ${column}`;

/** The tap that gave a maximum: the first of equals. */
export function winner(unit: Unit) {
  return unit.taps.find((tap) => tap.value === unit.value);
}

const NOTHING: Cell = {
  text: "",
  value: null,
  label: "beyond the edge, does not count",
  bright: null,
  sign: null,
  padding: true,
};

/** The padded plane of a channel, and the nothing `beyond` it that partial windows reach. `unit` is the window that lies on it;
 * `hatched` says whether dropped pixels are told yet. */
export function inputCells(
  setting: Setting,
  channel: number,
  unit: Unit | null,
  counts: Plane,
  hatched: boolean,
  beyond: { rows: number; columns: number },
): Cell[][] {
  const plane = item(setting.input, channel);
  const { height, width } = sizeOf(plane);
  const { top, bottom, left, right } = setting.padding;
  const flat = setting.input.flat(2);
  const least = Math.min(...flat);
  const range = Math.max(...flat) - least || 1;
  const taps = new Map(unit?.taps.filter((tap) => tap.channel === channel).map((tap) => [`${tap.row},${tap.column}`, tap]));
  const best = unit && setting.operation === "max" ? winner(unit) : undefined;
  // In small cells the weights could not be read.
  const roomy = left + width + right <= 12 && kernelSize(setting).height <= 5;
  return Array.from({ length: top + height + bottom + beyond.rows }, (_, i) =>
    Array.from({ length: left + width + right + beyond.columns }, (_, j) => {
      if (i >= top + height + bottom || j >= left + width + right) return NOTHING;
      const [row, column] = [i - top, j - left];
      const outside = row < 0 || column < 0 || row >= height || column >= width;
      const value = valueAt(setting, channel, row, column);
      const tap = taps.get(`${row},${column}`);
      const dropped = hatched && !outside && cellOf(counts, row, column) === 0;
      const told = [written(value), outside ? "padding" : place(row, column)];
      if (dropped) told.push("dropped: no window reads it");
      if (tap) told.push(isPooling(setting) ? "in the window" : `in the window, times ${written(tap.weight)}`);
      return {
        text: written(value, 2),
        value: outside ? null : value,
        label: told.join(", "),
        bright: outside && value === emptyValue(setting) && setting.mode === "zeros" ? null : (value - least) / range,
        sign: null,
        padding: outside,
        dropped,
        chosen: tap !== undefined && tap === best,
        ...(tap && !isPooling(setting) && roomy ? { corner: `×${written(tap.weight, 2)}` } : {}),
      };
    }),
  );
}

/** The kernel that one filter lays on one of its channels. */
export function kernelCells(slice: Plane, most: number): Cell[][] {
  return slice.map((row, i) =>
    row.map((value, j) => ({
      text: written(value, 2),
      value,
      label: `${written(value)}, ${place(i, j)}`,
      bright: null,
      sign: value / (most || 1),
    })),
  );
}

/** An output channel; `shown` says which numbers may be seen, `wrong` what a lecture printed instead. */
export function outputCells(
  plane: Plane,
  most: number,
  shown: (row: number, column: number) => boolean,
  wrong: Map<string, number>,
): Cell[][] {
  return plane.map((row, i) =>
    row.map((value, j) => {
      const printed = wrong.get(`${i},${j}`);
      const known = shown(i, j);
      const told = [known ? written(value) : "not yet predicted", place(i, j)];
      if (known && printed !== undefined) told.push(`the lecture printed ${written(printed)}`);
      return {
        text: known ? written(value, 2) : "?",
        value: null,
        label: told.join(", "),
        bright: null,
        sign: known ? value / (most || 1) : null,
        wrong: known && printed !== undefined,
      };
    }),
  );
}

/** The largest magnitude, which has the full colour. */
export const mostOf = (planes: Plane[]): number => Math.max(0, ...planes.flat(2).map(Math.abs).filter(Number.isFinite));

// The lectures' worked examples and the named filters, as `tools/lab_presets.py` wrote them.

import { item, type Plane, type Setting } from "./arithmetic";
import written from "./presets.json";
import { blank } from "./settings";

export interface Preset {
  id: string;
  lecture: number;
  title: string;
  setting: Setting;
  /** [row, column, number] of each cell that the lecture printed. */
  printed: Printed[];
  /** [row, column] of those that are wrong as printed. */
  wrong: number[][];
  /** How the right numbers come about. */
  correction: string;
}

export type Printed = [row: number, column: number, value: number];

export interface Filter {
  name: string;
  matrix: Plane;
  divisor: number;
  about: string;
}

/** A preset in the file: what is not said is as in `blank`. */
interface Entry extends Omit<Preset, "setting" | "printed" | "wrong" | "correction"> {
  setting: Partial<Omit<Setting, "input" | "padding">> & { input: number; padding: [number, number, number, number] };
  printed?: Printed[];
  wrong?: number[][];
  correction?: string;
}

const file = written as unknown as { lectures: string[]; inputs: Plane[][]; presets: Entry[]; filters: Filter[] };

export const LECTURES: readonly string[] = file.lectures;
export const FILTERS: readonly Filter[] = file.filters;

export const PRESETS: readonly Preset[] = file.presets.map((entry) => {
  const [top, bottom, left, right] = entry.setting.padding;
  const setting = { ...entry.setting, input: item(file.inputs, entry.setting.input), padding: { top, bottom, left, right } };
  return { printed: [], wrong: [], correction: "", ...entry, setting: { ...blank(), ...setting } };
});

/** What the lab opens with. */
export const FIRST: Preset = item(PRESETS, 0);

export const findPreset = (id: string): Preset | undefined => PRESETS.find((preset) => preset.id === id);

/** The filter with this matrix and divisor, if it has a name. */
export function nameOf(matrix: Plane, divisor: number): string | undefined {
  const same = JSON.stringify(matrix);
  return FILTERS.find((filter) => filter.divisor === divisor && JSON.stringify(filter.matrix) === same)?.name;
}

/** Headings for the list of filters, by the beginning of their names. */
const FAMILIES: readonly (readonly [string, RegExp])[] = [
  ["Edges", /^(edge|sobel|scharr|prewitt|laplacian)/],
  ["Lines and shapes", /^(line|vertical|diagonal|loopy|curve)/],
  ["Sharpen", /^sharpen/],
  ["Blur", /^(box|gaussian|blur)/],
  ["Nothing", /^identity/],
];

export const FILTER_FAMILIES: readonly { family: string; filters: Filter[] }[] = FAMILIES.map(([family, names]) => ({
  family,
  filters: FILTERS.filter(({ name }) => names.test(name)),
}));

/** `sobel_top` as a reader would say it. */
export const spoken = (name: string): string => (name.charAt(0).toUpperCase() + name.slice(1)).replaceAll("_", " ");

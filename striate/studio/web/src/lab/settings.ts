// Changes of a setting that keep it whole: kernels follow channels and groups, and what cannot be computed is explained.

import {
  axes,
  cellOf,
  isPooling,
  item,
  kernelSize,
  outputSize,
  sizeOf,
  span,
  type Plane,
  type Setting,
  type Sides,
} from "./arithmetic";

/** The most of each, so that every number still fits on a page. */
export const MOST = { height: 24, width: 24, channels: 4, filters: 4, kernel: 7, stride: 7, dilation: 4, padding: 6 };

/** A setting with nothing special: one plane of zeros, and a filter for vertical edges. */
export const blank = (): Setting => ({
  operation: "convolution",
  input: [zeros(6, 6)],
  kernel: [[[[1, 0, -1], [1, 0, -1], [1, 0, -1]]]], // prettier-ignore
  bias: [0],
  divisor: 1,
  window: 2,
  stride: 1,
  dilation: 1,
  padding: evenly(0),
  mode: "zeros",
  groups: 1,
  flipped: false,
  rounding: "floor",
});

export const evenly = (padding: number): Sides => ({ top: padding, bottom: padding, left: padding, right: padding });

/** The padding where it is the same on all sides, else null. */
export function evenPadding({ top, bottom, left, right }: Sides): number | null {
  return top === bottom && top === left && top === right ? top : null;
}

export const zeros = (height: number, width: number): Plane =>
  Array.from({ length: height }, () => new Array<number>(width).fill(0));

/** A plane of another size, shifted down and right; what falls off is gone, what is new is 0. */
function resized(plane: Plane, height: number, width: number, down = 0, right = 0): Plane {
  return zeros(height, width).map((row, y) => row.map((_, x) => plane[y - down]?.[x - right] ?? 0));
}

/** By a quarter of a circle, or by half where it is no square: what a new channel or filter begins as, so that it differs. */
function turned(plane: Plane): Plane {
  const rows = [...plane].reverse();
  const square = plane.length === plane[0]?.length;
  return square
    ? rows.map((row, i) => row.map((_, j) => cellOf(plane, j, rows.length - 1 - i)))
    : rows.map((row) => [...row].reverse());
}

function extended(planes: Plane[], count: number): Plane[] {
  const result = planes.slice(0, count);
  while (result.length < count) result.push(turned(item(result, result.length - 1)));
  return result;
}

export function withInputSize(setting: Setting, height: number, width: number): Setting {
  return { ...setting, input: setting.input.map((plane) => resized(plane, height, width)) };
}

/** A larger kernel gets a ring of zeros, a smaller one loses its rim: the middle stays the middle. */
export function withKernelSize(setting: Setting, size: number): Setting {
  if (isPooling(setting)) return { ...setting, window: size };
  const { height, width } = kernelSize(setting);
  const down = Math.floor((size - 1) / 2) - Math.floor((height - 1) / 2);
  const right = Math.floor((size - 1) / 2) - Math.floor((width - 1) / 2);
  const kernel = setting.kernel.map((slices) => slices.map((slice) => resized(slice, size, size, down, right)));
  return { ...setting, kernel };
}

/** Groups that a number of channels and filters can be split into. */
export function possibleGroups(channels: number, filters: number): number[] {
  return Array.from({ length: channels }, (_, i) => i + 1).filter((g) => channels % g === 0 && filters % g === 0);
}

export function withGroups(setting: Setting, groups: number): Setting {
  const each = setting.input.length / groups;
  return { ...setting, groups, kernel: setting.kernel.map((slices) => extended(slices, each)) };
}

/** The groups stay where the new count allows them, else there is one. */
export function withChannels(setting: Setting, channels: number): Setting {
  const groups = possibleGroups(channels, setting.kernel.length).includes(setting.groups) ? setting.groups : 1;
  return withGroups({ ...setting, input: extended(setting.input, channels) }, groups);
}

export function withFilters(setting: Setting, filters: number): Setting {
  const kernel = setting.kernel.slice(0, filters);
  while (kernel.length < filters) kernel.push(item(kernel, kernel.length - 1).map(turned));
  const bias = Array.from({ length: filters }, (_, i) => setting.bias[i] ?? 0);
  const groups = possibleGroups(setting.input.length, filters).includes(setting.groups) ? setting.groups : 1;
  return withGroups({ ...setting, kernel, bias }, groups);
}

/** A named filter in the place of one filter, the same on each channel it reads; the others are brought to its size. */
export function withNamedFilter(setting: Setting, filter: number, matrix: Plane, divisor: number): Setting {
  const sized = withKernelSize({ ...setting, operation: "convolution" }, matrix.length);
  const kernel = sized.kernel.map((slices, i) => (i === filter ? slices.map(() => matrix.map((row) => [...row])) : slices));
  return { ...sized, kernel, divisor };
}

const replaced = <T>(list: T[], index: number, change: (old: T) => T): T[] =>
  list.map((item, i) => (i === index ? change(item) : item));

const withCell = (plane: Plane, row: number, column: number, value: number): Plane =>
  replaced(plane, row, (cells) => replaced(cells, column, () => value));

export function withPixel(setting: Setting, channel: number, row: number, column: number, value: number): Setting {
  return { ...setting, input: replaced(setting.input, channel, (plane) => withCell(plane, row, column, value)) };
}

export function withWeight(setting: Setting, filter: number, slice: number, row: number, column: number, value: number): Setting {
  const kernel = replaced(setting.kernel, filter, (slices) =>
    replaced(slices, slice, (plane) => withCell(plane, row, column, value)),
  );
  return { ...setting, kernel };
}

export function withBias(setting: Setting, filter: number, value: number): Setting {
  return { ...setting, bias: replaced(setting.bias, filter, () => value) };
}

/** Why nothing can be computed, in a sentence that says what to change; null where it can. */
export function obstacle(setting: Setting): string | null {
  const { height, width } = sizeOf(item(setting.input, 0));
  const { top, bottom, left, right } = setting.padding;
  if (setting.mode === "reflect" && (Math.max(top, bottom) >= height || Math.max(left, right) >= width))
    return `Reflection needs less padding than there are pixels: at most ${Math.min(height, width) - 1} here.`;
  const { rows, columns } = axes(setting);
  const half = Math.floor(kernelSize(setting).height / 2);
  if (isPooling(setting) && setting.mode === "zeros" && Math.max(top, bottom, left, right) > half)
    return `A pooling window of ${setting.window} takes at most ${half} of padding: with more, a window could lie wholly outside the image.`;
  if (outputSize(setting).height) return null;
  const reach = span(rows.kernel, rows.dilation);
  const room = Math.min(rows.length + rows.before + rows.after, columns.length + columns.before + columns.after);
  const spread = setting.dilation > 1 ? `, spread over ${reach} pixels by the dilation,` : "";
  return `The window of ${rows.kernel} × ${columns.kernel}${spread} does not fit into ${room} pixels. Make it smaller, or pad the input.`;
}

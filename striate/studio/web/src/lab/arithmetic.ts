// The arithmetic of convolution and pooling, written to be read: one window at a time, every product kept.
//
// What deep learning calls convolution is cross-correlation; `flipped` turns the kernel by 180° and makes it the convolution of
// mathematics. Sizes and borders are PyTorch's. Sources: V. Dumoulin, F. Visin, arXiv:1603.07285; I. Goodfellow, Y. Bengio,
// A. Courville, "Deep Learning", 2016, chapter 9.

/** Rows of numbers. */
export type Plane = number[][];

export type Operation = "convolution" | "max" | "average" | "sum";
export type PaddingMode = "zeros" | "reflect" | "replicate";

/** Pixels added on each side. */
export interface Sides {
  top: number;
  bottom: number;
  left: number;
  right: number;
}

/** Everything that an output depends on. */
export interface Setting {
  operation: Operation;
  /** [channels][height][width] */
  input: Plane[];
  /** [filters][channels / groups][height][width]; kept, but not read, while pooling. */
  kernel: Plane[][];
  /** One number a filter. */
  bias: number[];
  /** What the sum of products is divided by before the bias: 9 for a mean of nine. */
  divisor: number;
  /** Side of a pooling window. */
  window: number;
  stride: number;
  dilation: number;
  padding: Sides;
  mode: PaddingMode;
  groups: number;
  flipped: boolean;
  /** `ceil`, of poolings only: one window more that sticks out where pixels are left over. */
  rounding: "floor" | "ceil";
}

export interface Size {
  height: number;
  width: number;
}

/** One dimension: what a window of `kernel` taps meets along it. */
export interface Axis {
  length: number;
  before: number;
  after: number;
  kernel: number;
  stride: number;
  dilation: number;
  rounding: "floor" | "ceil";
}

/** One place of the window. Rows and columns are those of the input: negative, or beyond its size, in the padding. */
export interface Tap {
  channel: number;
  row: number;
  column: number;
  /** Which number of the kernel lies on it. */
  kernelRow: number;
  kernelColumn: number;
  value: number;
  weight: number;
  product: number;
  padding: boolean;
}

/** One output number and where it comes from. */
export interface Unit {
  filter: number;
  row: number;
  column: number;
  taps: Tap[];
  /** The sum of products of each channel that is read, in the order of `channels`. */
  sums: number[];
  channels: number[];
  /** What the total is divided by: the divisor of a filter, the count of a mean, else 1. */
  divisor: number;
  bias: number;
  value: number;
}

export const isPooling = (setting: Setting): boolean => setting.operation !== "convolution";

/** What a list holds at an index that it must have. */
export function item<T>(list: readonly T[], index: number): T {
  const found = list[index];
  if (found === undefined) throw new RangeError(`no item ${index} in a list of ${list.length}`);
  return found;
}

export const sizeOf = (plane: Plane): Size => ({ height: plane.length, width: item(plane, 0).length });

export const cellOf = (plane: Plane, row: number, column: number): number => item(item(plane, row), column);

/** The kernel of one filter for one of the channels that it reads. */
export const sliceOf = (setting: Setting, filter: number, slice: number): Plane => item(item(setting.kernel, filter), slice);

/** Height and width of the window, in taps. */
export function kernelSize(setting: Setting): Size {
  return isPooling(setting) ? { height: setting.window, width: setting.window } : sizeOf(sliceOf(setting, 0, 0));
}

/** Pixels from the first to the last tap, both included. */
export const span = (kernel: number, dilation: number): number => dilation * (kernel - 1) + 1;

export function axes(setting: Setting): { rows: Axis; columns: Axis } {
  const { height, width } = sizeOf(item(setting.input, 0));
  const kernel = kernelSize(setting);
  const { stride, dilation, padding } = setting;
  const shared = { stride, dilation, rounding: isPooling(setting) ? setting.rounding : ("floor" as const) };
  return {
    rows: { ...shared, length: height, before: padding.top, after: padding.bottom, kernel: kernel.height },
    columns: { ...shared, length: width, before: padding.left, after: padding.right, kernel: kernel.width },
  };
}

/** Steps that fit between the first window and the end, as a fraction: (n + p − span) / s. */
export function steps(axis: Axis): number {
  return (axis.length + axis.before + axis.after - span(axis.kernel, axis.dilation)) / axis.stride;
}

/** Number of windows along an axis; 0 where not one fits. A window may stick out (`ceil`), but none begins behind the pixels. */
export function outputLength(axis: Axis): number {
  const count = steps(axis);
  if (count < 0) return 0;
  if (axis.rounding === "floor") return Math.floor(count) + 1;
  const last = Math.ceil(count);
  return last * axis.stride >= axis.length + axis.before ? last : last + 1;
}

export function outputSize(setting: Setting): Size {
  const { rows, columns } = axes(setting);
  const size = { height: outputLength(rows), width: outputLength(columns) };
  return size.height && size.width ? size : { height: 0, width: 0 };
}

/** Output channels: the filters, or each channel by itself when pooling. */
export const outputChannels = (setting: Setting): number => (isPooling(setting) ? setting.input.length : setting.kernel.length);

/** The input channels that one output channel reads. */
export function channelsRead(setting: Setting, filter: number): number[] {
  if (isPooling(setting)) return [filter];
  const { input, kernel, groups } = setting;
  const each = input.length / groups;
  const first = Math.floor(filter / (kernel.length / groups)) * each;
  return Array.from({ length: each }, (_, i) => first + i);
}

/** The index of the pixel that a place shows: itself inside, by the padding mode outside, null where nothing of the image is. */
function source(index: number, length: number, mode: PaddingMode): number | null {
  if (index >= 0 && index < length) return index;
  if (mode === "zeros") return null;
  if (mode === "replicate") return Math.min(Math.max(index, 0), length - 1);
  return index < 0 ? -index : 2 * (length - 1) - index;
}

/** What padding without pixels counts as: nothing that could win a maximum, else 0. */
export const emptyValue = (setting: Setting): number => (setting.operation === "max" ? -Infinity : 0);

/** The number at a place of the padded input. */
export function valueAt(setting: Setting, channel: number, row: number, column: number): number {
  const plane = item(setting.input, channel);
  const { height, width } = sizeOf(plane);
  const y = source(row, height, setting.mode);
  const x = source(column, width, setting.mode);
  return y === null || x === null ? emptyValue(setting) : cellOf(plane, y, x);
}

/** The output number of one window with all its taps. */
export function unitAt(setting: Setting, filter: number, row: number, column: number): Unit {
  const { rows, columns } = axes(setting);
  const pooling = isPooling(setting);
  const channels = channelsRead(setting, filter);
  const taps: Tap[] = [];
  const sums: number[] = [];
  for (const [slice, channel] of channels.entries()) {
    const first = taps.length;
    for (let i = 0; i < rows.kernel; i++) {
      const y = row * rows.stride - rows.before + i * rows.dilation;
      // What `ceil` lets stick out lies behind the padding: no pixel, no zero either.
      if (y >= rows.length + rows.after) continue;
      for (let j = 0; j < columns.kernel; j++) {
        const x = column * columns.stride - columns.before + j * columns.dilation;
        if (x >= columns.length + columns.after) continue;
        const kernelRow = setting.flipped && !pooling ? rows.kernel - 1 - i : i;
        const kernelColumn = setting.flipped && !pooling ? columns.kernel - 1 - j : j;
        const value = valueAt(setting, channel, y, x);
        const weight = pooling ? 1 : cellOf(sliceOf(setting, filter, slice), kernelRow, kernelColumn);
        const padding = y < 0 || x < 0 || y >= rows.length || x >= columns.length;
        taps.push({ channel, row: y, column: x, kernelRow, kernelColumn, value, weight, product: value * weight, padding });
      }
    }
    sums.push(taps.slice(first).reduce((sum, tap) => sum + tap.product, 0));
  }
  const total = sums.reduce((sum, part) => sum + part, 0);
  const bias = pooling ? 0 : item(setting.bias, filter);
  const divisor = setting.operation === "average" ? taps.length : pooling ? 1 : setting.divisor;
  const value = setting.operation === "max" ? Math.max(...taps.map((tap) => tap.value)) : total / divisor + bias;
  return { filter, row, column, taps, sums, channels, divisor, bias, value };
}

/** Every output number: [output channels][height][width]. */
export function outputOf(setting: Setting): Plane[] {
  const { height, width } = outputSize(setting);
  return Array.from({ length: outputChannels(setting) }, (_, filter) =>
    Array.from({ length: height }, (_, row) =>
      Array.from({ length: width }, (_, column) => unitAt(setting, filter, row, column).value),
    ),
  );
}

/** For each pixel of a plane, how many windows read it: 0 for those that are dropped. */
export function readCounts(setting: Setting): Plane {
  const { rows, columns } = axes(setting);
  const { height, width } = outputSize(setting);
  const vertical = countsAlong(rows, height);
  const horizontal = countsAlong(columns, width);
  return vertical.map((down) => horizontal.map((across) => down * across));
}

function countsAlong(axis: Axis, windows: number): number[] {
  const counts = new Array<number>(axis.length).fill(0);
  for (let window = 0; window < windows; window++)
    for (let tap = 0; tap < axis.kernel; tap++) {
      const index = window * axis.stride - axis.before + tap * axis.dilation;
      if (index >= 0 && index < axis.length) counts[index] = item(counts, index) + 1;
    }
  return counts;
}

/** Number of pixels of a plane that no window reads. */
export const droppedPixels = (setting: Setting): number =>
  readCounts(setting)
    .flat()
    .filter((count) => count === 0).length;

/** Numbers that training would learn: weights and biases. Pooling has none. */
export function parameters(setting: Setting): number {
  if (isPooling(setting)) return 0;
  const { height, width } = kernelSize(setting);
  return setting.kernel.length * (item(setting.kernel, 0).length * height * width + 1);
}

// A filter over a whole picture, fast enough for a camera: as `striate.kernels.response`, with the outermost pixels repeated.

import { sizeOf, type Plane } from "./arithmetic";

/** One number a pixel, row by row. */
export interface Picture {
  width: number;
  height: number;
  values: Float32Array;
}

/** What a canvas, a bitmap or a camera shows, no larger than is quickly filtered. */
export function pixelsOf(from: HTMLCanvasElement | ImageBitmap, widest: number): ImageData {
  const scale = Math.min(1, widest / from.width, (1.5 * widest) / from.height);
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(from.width * scale));
  canvas.height = Math.max(1, Math.round(from.height * scale));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error("the browser gives no canvas to draw on");
  context.drawImage(from, 0, 0, canvas.width, canvas.height);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

/** Kernel numbers over their divisor, as they are laid on the picture. */
export function laid(kernel: Plane, divisor: number, flipped: boolean): Plane {
  const rows = kernel.map((row) => row.map((number) => number / divisor));
  return flipped ? rows.reverse().map((row) => row.reverse()) : rows;
}

/** The shares of red, green and blue in each plane: grey as Pillow's `L` weighs them, or their sum, or each by itself. */
const MIXES = {
  grey: [[0.299, 0.587, 0.114]],
  sum: [[1, 1, 1]],
  each: [[1, 0, 0], [0, 1, 0], [0, 0, 1]], // prettier-ignore
} as const;
export type Mix = keyof typeof MIXES;

/** The planes of a picture, 0..255, or three times that of a sum. */
export function planesOf({ width, height, data }: ImageData, mix: Mix): Picture[] {
  return MIXES[mix].map(([red, green, blue]) => {
    const values = new Float32Array(width * height);
    for (let i = 0, from = 0; i < values.length; i++, from += 4)
      values[i] = red * (data[from] as number) + green * (data[from + 1] as number) + blue * (data[from + 2] as number);
    return { width, height, values };
  });
}

/** The response at every pixel. Of an even number of rows or columns, the upper or left of the middle ones lies on the pixel. */
export function correlate(picture: Picture, weights: Plane): Picture {
  const { width, height } = picture;
  const kernel = sizeOf(weights);
  const padded = bordered(picture, kernel.height, kernel.width);
  const taps = weights.flatMap((row, i) => row.map((weight, j) => ({ weight, offset: i * padded.width + j })));
  const few = taps.filter(({ weight }) => weight !== 0);
  while (few.length % AT_ONCE) few.push({ weight: 0, offset: 0 });
  const values = new Float32Array(width * height);
  for (let y = 0; y < height; y++)
    for (let tap = 0; tap < few.length; tap += AT_ONCE)
      addTaps(values.subarray(y * width, (y + 1) * width), padded.values, y * padded.width, few.slice(tap, tap + AT_ONCE));
  return { width, height, values };
}

/** Taps in one pass over a row: twice as fast as one by one, and the loop has nothing to decide. */
const AT_ONCE = 4;

function addTaps(row: Float32Array, from: Float32Array, start: number, taps: { weight: number; offset: number }[]): void {
  const [a, b, c, d] = taps as [Tap, Tap, Tap, Tap];
  const [i, j, k, l] = [start + a.offset, start + b.offset, start + c.offset, start + d.offset];
  const [p, q, r, s] = [a.weight, b.weight, c.weight, d.weight];
  for (let x = 0; x < row.length; x++) {
    const first = p * (from[i + x] as number) + q * (from[j + x] as number);
    row[x] = (row[x] as number) + first + r * (from[k + x] as number) + s * (from[l + x] as number);
  }
}

type Tap = { weight: number; offset: number };

function bordered({ width, height, values }: Picture, rows: number, columns: number): Picture {
  const [above, before] = [Math.floor((rows - 1) / 2), Math.floor((columns - 1) / 2)];
  const size = { width: width + columns - 1, height: height + rows - 1 };
  const padded = new Float32Array(size.width * size.height);
  for (let y = 0; y < size.height; y++) {
    const row = values.subarray(Math.min(Math.max(y - above, 0), height - 1) * width).subarray(0, width);
    const start = y * size.width;
    padded.fill(row[0] as number, start, start + before);
    padded.set(row, start + before);
    padded.fill(row[width - 1] as number, start + before + width, start + size.width);
  }
  return { ...size, values: padded };
}

/** The largest response in size that pixels of 0..255 can cause, summed over so many channels. */
export function reach(weights: Plane, channels: number): number {
  const numbers = weights.flat();
  const up = numbers.reduce((sum, number) => sum + Math.max(number, 0), 0);
  const down = numbers.reduce((sum, number) => sum + Math.max(-number, 0), 0);
  return 255 * channels * Math.max(up, down) || 1;
}

/** The pixels around a place, whole numbers, as a small plane for the lab. Places beyond the edge show the edge. */
export function patchAt({ width, height, values }: Picture, row: number, column: number, side: number): Plane {
  const inside = (value: number, count: number) => Math.min(Math.max(value, 0), count - 1);
  const from = Math.floor((side - 1) / 2);
  return Array.from({ length: side }, (_, y) =>
    Array.from({ length: side }, (_, x) =>
      Math.round(values[inside(row - from + y, height) * width + inside(column - from + x, width)] as number),
    ),
  );
}

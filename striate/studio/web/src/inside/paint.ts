/** Numbers as pixels, in the page's two colours as they are now. */

import { diverging, sequential, type Rgb } from "../parts/colours";
import { rgb, tones } from "../lab/tones";
import type { Sheet } from "./inside";

export interface Palette {
  negative: Rgb;
  positive: Rgb;
  /** Of 0. */
  middle: Rgb;
  /** Where there is no number. */
  absent: Rgb;
}

/** Who reads it is told when the page turns light or dark. */
export function palette(): Palette {
  const style = getComputedStyle(document.documentElement);
  const colour = (name: string) => rgb(style.getPropertyValue(name));
  return { ...tones(), middle: colour("--surface"), absent: colour("--line") };
}

/** -1..1, or NaN, as a colour. */
function coloured(share: number, { negative, positive, middle, absent }: Palette): Rgb {
  if (Number.isNaN(share)) return absent;
  const [end, size] = [share < 0 ? negative : positive, Math.min(Math.abs(share), 1)];
  return [0, 1, 2].map((at) => middle[at] + (end[at] - middle[at]) * size) as unknown as Rgb;
}

/** [height, width] of numbers onto a canvas, a pixel each. */
export function paintMap(
  canvas: HTMLCanvasElement,
  values: Float32Array,
  height: number,
  width: number,
  bound: number,
  colours: Palette,
) {
  [canvas.width, canvas.height] = [width, height];
  const image = new ImageData(width, height);
  for (let at = 0; at < width * height; at++) put(image, at, coloured(at < values.length ? values[at] / bound : NaN, colours));
  canvas.getContext("2d")?.putImageData(image, 0, 0);
}

/** The maps of a sheet, `columns` in a row, each `side` pixels wide, so many apart. */
export function paintSheet(
  canvas: HTMLCanvasElement,
  sheet: Sheet,
  columns: number,
  side: number,
  gap: number,
  colours: Palette,
) {
  const [height, width] = sheet.size;
  const table = Array.from({ length: 256 }, (_, code) => coloured(code === 0 ? NaN : (code - 128) / 127, colours));
  const codes = atob(sheet.codes);
  const tall = tileHeight(sheet, side);
  const scale = Math.min(devicePixelRatio || 1, 2);
  const count = sheet.channels.length;
  canvas.width = (Math.min(columns, count) * (side + gap) - gap) * scale;
  canvas.height = (Math.ceil(count / columns) * (tall + gap) - gap) * scale;
  const context = canvas.getContext("2d");
  if (!context) return;
  context.imageSmoothingEnabled = false;
  const tile = document.createElement("canvas");
  [tile.width, tile.height] = [width, height];
  const image = new ImageData(width, height);
  for (let map = 0; map < count; map++) {
    for (let at = 0; at < width * height; at++) put(image, at, table[codes.charCodeAt(map * width * height + at)]);
    tile.getContext("2d")?.putImageData(image, 0, 0);
    const [row, column] = [Math.floor(map / columns), map % columns];
    context.drawImage(tile, column * (side + gap) * scale, row * (tall + gap) * scale, side * scale, tall * scale);
  }
}

/** A map keeps its shape; a vector is no thinner than can be seen. */
export function tileHeight({ size: [height, width] }: Sheet, side: number): number {
  return Math.max(Math.round((side * height) / width), Math.min(10, side));
}

/** What speaks for a class over the picture: the more, the less of the picture is seen through it. */
export function paintOver(
  canvas: HTMLCanvasElement,
  values: Float32Array,
  height: number,
  width: number,
  bound: number,
  signed: boolean,
) {
  [canvas.width, canvas.height] = [width, height];
  const image = new ImageData(width, height);
  for (let at = 0; at < values.length; at++) {
    const share = Math.min(Math.max(values[at] / bound, -1), 1);
    put(image, at, signed ? diverging(Math.sign(share), [128, 128, 128]) : sequential(share));
    image.data[4 * at + 3] = signed ? 235 * Math.abs(share) ** 0.7 : 70 + 160 * Math.max(share, 0);
  }
  canvas.getContext("2d")?.putImageData(image, 0, 0);
}

/** The magnitude that all but 1 in 100 numbers keep within; 1 where all are 0. */
export function boundOf(values: Float32Array): number {
  const sizes = values.filter(Number.isFinite).map(Math.abs).sort();
  return sizes[Math.ceil(0.99 * (sizes.length - 1))] || sizes.at(-1) || 1;
}

function put(image: ImageData, at: number, [red, green, blue]: Rgb) {
  image.data.set([red, green, blue, 255], 4 * at);
}

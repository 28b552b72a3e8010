/** Filters as a picture: one tile each, side by side. */

import { diverging, type Rgb } from "../parts/colours";
import type { Filter } from "./train";

const GREY: Rgb = [200, 200, 196];

/** Tiles a row: about two rows of tiles for every three columns. */
export function columns(count: number): number {
  return Math.min(count, Math.ceil(Math.sqrt(count * 1.6)));
}

/** [width, height] in cells of all tiles with one cell between. */
export function sizeOf(filters: readonly Filter[]): [width: number, height: number] {
  const across = columns(filters.length);
  const [rows, cols] = [filters[0][0].length, filters[0][0][0].length];
  return [across * (cols + 1) - 1, Math.ceil(filters.length / across) * (rows + 1) - 1];
}

/** The colour of one cell: of its sign and size for one channel, of its three for colour. */
export function colourOf(filter: Filter, row: number, column: number): Rgb {
  if (filter.length < 3) return diverging(filter[0][row][column], GREY);
  const [red, green, blue] = [0, 1, 2].map((channel) => 127.5 * (1 + filter[channel][row][column]));
  return [red, green, blue];
}

/** Draws the tiles, a pixel a cell; what lies between them stays clear. */
export function paint(canvas: HTMLCanvasElement, filters: readonly Filter[]): void {
  const [width, height] = sizeOf(filters);
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  if (!context) return;
  const image = context.createImageData(width, height);
  const across = columns(filters.length);
  filters.forEach((filter, index) => {
    const [rows, cols] = [filter[0].length, filter[0][0].length];
    const top = Math.floor(index / across) * (rows + 1);
    const left = (index % across) * (cols + 1);
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < cols; column++) {
        image.data.set([...colourOf(filter, row, column), 255], 4 * ((top + row) * width + left + column));
      }
    }
  });
  context.putImageData(image, 0, 0);
}

import { expect, test } from "vitest";
import { outputOf, type Plane } from "./arithmetic";
import { correlate, laid, patchAt, planesOf, reach, type Picture } from "./filtering";
import { FILTERS } from "./presets";
import { blank } from "./settings";

const WIDTH = 9;
const HEIGHT = 6;
const plane: Plane = Array.from({ length: HEIGHT }, (_, y) =>
  Array.from({ length: WIDTH }, (_, x) => (y * y * 37 + x * 11 + 5) % 256),
);
const picture: Picture = { width: WIDTH, height: HEIGHT, values: Float32Array.from(plane.flat()) };

test.each(FILTERS)("$name over a picture is what the lab computes window by window", ({ matrix, divisor }) => {
  for (const flipped of [false, true]) {
    const [before, after] = [Math.floor((matrix.length - 1) / 2), Math.floor(matrix.length / 2)];
    const padding = { top: before, bottom: after, left: before, right: after };
    const [expected] = outputOf({ ...blank(), input: [plane], kernel: [[matrix]], divisor, padding, mode: "replicate", flipped });
    const got = correlate(picture, laid(matrix, divisor, flipped));
    expect([got.width, got.height]).toEqual([WIDTH, HEIGHT]);
    // Single precision, a sum of at most 49 products.
    const bound = 49 * 2 ** -23 * reach(laid(matrix, divisor, flipped), 1);
    expected?.flat().forEach((value, i) => expect(Math.abs((got.values[i] ?? NaN) - value)).toBeLessThanOrEqual(bound));
  }
});

test("an even kernel, wider than the picture, hangs on its upper left middle", () => {
  const kernel = [[1, 2], [3, 4]]; // prettier-ignore
  expect([...correlate({ width: 1, height: 1, values: Float32Array.of(5) }, kernel).values]).toEqual([50]);
  expect([...correlate({ width: 2, height: 1, values: Float32Array.of(1, 10) }, [[1, 0, 0, 2]]).values]).toEqual([21, 21]);
});

test("grey weighs the colours as Pillow does, and a sum over colours is a layer's", () => {
  const image = { width: 1, height: 1, data: Uint8ClampedArray.of(100, 50, 200, 255), colorSpace: "srgb" } as ImageData;
  expect(planesOf(image, "grey")[0]?.values[0]).toBeCloseTo(0.299 * 100 + 0.587 * 50 + 0.114 * 200, 4);
  expect(planesOf(image, "each").map(({ values }) => values[0])).toEqual([100, 50, 200]);
  expect(planesOf(image, "sum").map(({ values }) => values[0])).toEqual([350]);
});

test("no response is beyond the reach of its filter", () => {
  expect(reach([[1, 2, 1], [0, 0, 0], [-1, -2, -1]], 1)).toBe(1020); // prettier-ignore
  expect(reach([[0]], 1)).toBe(1);
});

test("a patch is whole pixels, the edge repeated", () => {
  expect(patchAt({ width: 2, height: 2, values: Float32Array.of(1.4, 2, 3, 4.6) }, 0, 0, 4)).toEqual([
    [1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 5, 5], [3, 3, 5, 5],
  ]); // prettier-ignore
});

import { describe, expect, it } from "vitest";
import { boxOf, isInside, laid, number, placeOf, position, read, rows, unitAt, written } from "./inside";
import { rgb } from "../lab/tones";
import { boundOf, tileHeight } from "./paint";

describe("where numbers stand", () => {
  it("lays out maps, matrices and folded vectors", () => {
    expect(laid([64, 56, 48])).toEqual({ height: 56, width: 48, length: 2688 });
    expect(laid([10])).toEqual({ height: 1, width: 10, length: 10 });
    // As the studio folds them: 7 rows of 8.
    expect(laid([50])).toEqual({ height: 7, width: 8, length: 50 });
    expect(laid([])).toBeUndefined();
    expect(laid([2, 3, 4, 5])).toBeUndefined();
  });
  it("goes from a place to a position and back", () => {
    for (const [shape, place] of [[[64, 56, 48], 100], [[50], 49], [[7, 3], 20]] as const) {
      expect(placeOf(shape, unitAt(shape, 5, place))).toBe(place);
    } // prettier-ignore
    expect(unitAt([64, 56, 48], 5, 100)).toEqual([5, 2, 4]);
  });
  it("draws what a number sees, cut at the border of the image", () => {
    // The first convolution of ResNet: 7 x 7, stride 2, padding 3.
    const field = { size: [7, 7], jump: [2, 2], offset: [-3, -3] } as const;
    expect(boxOf({ ...field } as never, [0, 0, 10], [224, 224])).toEqual([
      [0, 4],
      [17, 24],
    ]);
    expect(boxOf({ ...field, jump: [0, 0] } as never, [0, 0, 0], [8, 9])).toEqual([
      [0, 8],
      [0, 9],
    ]);
    expect(boxOf(null, [0, 0, 0], [8, 9])).toBeUndefined();
  });
});

describe("a window", () => {
  it("becomes rows with paths, of any number of dimensions", () => {
    expect(rows(3)).toEqual([[{ path: [], value: 3 }]]);
    expect(rows([1, 2])[0].map(({ path }) => path)).toEqual([[0], [1]]);
    const volume = rows([[[1, 2]], [[3, 4]]]);
    expect(volume).toHaveLength(2);
    expect(volume[1][1]).toEqual({ path: [1, 0, 1], value: 4 });
  });
  it("names the position of each number in the input", () => {
    const patch = { fixed: [null, null, null], coordinates: [[19, 20, 21], [30, 31, 32]] }; // prettier-ignore
    expect(position(patch, 5, [0, 2])).toEqual([5, 19, 32]);
    // A dense layer on [H, W, C], as ConvNeXt has it.
    expect(position({ fixed: [3, 4, null], coordinates: [] }, 17, [])).toEqual([3, 4, 17]);
    expect(isInside([[false, true]], [0, 1])).toBe(true);
    expect(isInside([[false, true]], [0, 0])).toBe(false);
    expect(isInside(true, [])).toBe(true);
  });
});

describe("the address", () => {
  it("keeps a walk", () => {
    const walk = [
      { layer: "fc", unit: [3], output: 0 },
      { layer: "layer1.0.relu#2", unit: [460, 0, 0], output: 1 },
    ];
    expect(written(walk)).toBe("fc@3~layer1.0.relu#2@460,0,0@1");
    expect(read(written(walk))).toEqual(walk);
    expect(read("")).toEqual([]);
    expect(read("fc@x~@1~fc")).toEqual([]);
  });
});

describe("colours", () => {
  it("are read long and short", () => {
    expect([rgb(" #fff"), rgb("#1a1e22")]).toEqual([
      [255, 255, 255],
      [26, 30, 34],
    ]);
  });
});

describe("numbers", () => {
  it("have their sign, and no more digits than asked for", () => {
    expect(number(0.52136)).toBe("+0.5214");
    expect(number(-3.14159e-8)).toBe("−3.14e−8");
    expect(number(0)).toBe("0");
    expect(number(-12.5, 3)).toBe("−12.5");
    expect(number(null)).toBe("no number");
  });
  it("fill a scale but for the largest 1 in 100", () => {
    const values = new Float32Array(1000).fill(1);
    values[7] = -50;
    expect(boundOf(values)).toBe(1);
    expect(boundOf(new Float32Array(3))).toBe(1);
    expect(tileHeight({ channels: [0], size: [1, 10], bound: 1, codes: "", num_maps: 1 }, 80)).toBe(10);
  });
});

import { describe, expect, test } from "vitest";
import { droppedPixels, outputOf, outputSize, parameters, readCounts, unitAt, type Plane, type Setting } from "./arithmetic";
import { findPreset, PRESETS } from "./presets";
import { blank } from "./settings";
import vectors from "./vectors.json";

interface Case extends Omit<Partial<Setting>, "padding"> {
  padding: [number, number, number, number];
  output: Plane[];
}

const answers = vectors.answers as unknown as Record<string, Plane[] | number[]>;
const cases = vectors.torch as unknown as Case[];

function settingOf({ output: _, padding: [top, bottom, left, right], ...rest }: Case): Setting {
  return { ...blank(), ...rest, padding: { top, bottom, left, right } };
}

const example = (id: string): Setting => {
  const preset = findPreset(id);
  if (!preset) throw new Error(id);
  return preset.setting;
};

test("every example of the lectures has an answer to be held against", () => {
  expect(PRESETS.map(({ id }) => id).sort()).toEqual(Object.keys(answers).sort());
});

describe.each(PRESETS)("$id: $title", ({ id, setting, printed, wrong }) => {
  const answer = answers[id] ?? [];
  test("is computed as it should be", () => {
    const { height, width } = outputSize(setting);
    if (typeof answer[0] === "number") expect([height, width]).toEqual(answer);
    else {
      const got = outputOf(setting).flat(2);
      const right = (answer as Plane[]).flat(2);
      expect(got.length).toBe(right.length);
      // The truth file rounds what is no integer to ten decimals.
      got.forEach((value, i) => expect(Math.abs(value - (right[i] ?? NaN))).toBeLessThan(1e-9));
    }
  });
  test("differs from the printed numbers just where the lecture is wrong", () => {
    for (const [row, column, value] of printed) {
      const off = Math.abs(unitAt(setting, 0, row, column).value - value) >= 0.01;
      expect([row, column, off]).toEqual([row, column, wrong.some(([y, x]) => y === row && x === column)]);
    }
  });
});

test.each(cases.map((one, i) => [i, one] as const))("torch, case %i", (_, one) => {
  expect(outputOf(settingOf(one))).toEqual(one.output);
});

test("the vectors hold every operation, mode and direction", () => {
  for (const field of ["operation", "mode", "flipped", "rounding"] as const)
    expect(new Set(cases.map((one) => one[field])).size).toBe({ operation: 4, mode: 4, flipped: 3, rounding: 3 }[field]);
});

describe("pixels that no window reads", () => {
  test("a row and a column are left over by a pooling of 5 x 5", () => {
    expect(droppedPixels(example("s3.pool.5x5.floor"))).toBe(9);
    expect(droppedPixels(example("s3.pool.5x5.ceil"))).toBe(0);
  });
  test("a stride beyond the window leaves gaps, and so does dilation with stride", () => {
    const row = { ...blank(), input: [[[1, 1, 1, 1, 1, 1, 1]]], kernel: [[[[1, 1]]]] };
    expect(readCounts({ ...row, stride: 3 })).toEqual([[1, 1, 0, 1, 1, 0, 0]]);
    expect(readCounts({ ...row, dilation: 2, stride: 2 })).toEqual([[1, 0, 2, 0, 2, 0, 1]]);
  });
  test("reads are counted from every window", () => {
    expect(readCounts({ ...blank(), input: [[[1, 1, 1, 1]]], kernel: [[[[1, 1, 1]]]] })).toEqual([[1, 2, 2, 1]]);
  });
});

test("a unit's parts add up to its value, channel by channel", () => {
  const unit = unitAt(example("s4.rgb.sum"), 0, 0, 0);
  expect(unit.sums).toEqual([308, -498, 164]);
  expect(unit.bias).toBe(1);
  expect(unit.sums.reduce((sum, part) => sum + part, unit.bias)).toBe(unit.value);
  expect(unit.taps.filter(({ padding }) => padding).length).toBe(3 * 5);
});

test("padding never wins a maximum, and counts as zeros in a mean", () => {
  const negative = { ...blank(), input: [[[-3, -2]]], window: 2, padding: { top: 1, bottom: 0, left: 0, right: 0 } };
  expect(outputOf({ ...negative, operation: "max" })).toEqual([[[-2]]]);
  expect(outputOf({ ...negative, operation: "average" })).toEqual([[[-1.25]]]);
});

test("parameters: two filters on three channels", () => {
  expect(parameters(example("s0.shape.rgb2"))).toBe(56);
  expect(parameters(example("s0.pool.max"))).toBe(0);
});

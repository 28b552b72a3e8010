import { describe, expect, test } from "vitest";
import { outputOf, outputSize } from "./arithmetic";
import { agrees, asTerm, typed, written } from "./numbers";
import { FIRST } from "./presets";
import { blank, evenly, obstacle, possibleGroups, withChannels, withFilters, withGroups, withInputSize, withKernelSize, withNamedFilter } from "./settings"; // prettier-ignore

describe("kernels follow what is asked", () => {
  test("a larger kernel computes the same in its middle", () => {
    const larger = withKernelSize({ ...FIRST.setting, padding: evenly(1) }, 5);
    expect(outputOf({ ...larger, padding: evenly(2) })).toEqual(outputOf({ ...FIRST.setting, padding: evenly(1) }));
    expect(withKernelSize(larger, 3).kernel).toEqual(FIRST.setting.kernel);
  });
  test("even sizes grow at the bottom and right, and shrink back", () => {
    const four = withKernelSize(FIRST.setting, 4);
    expect(four.kernel[0]?.[0]).toEqual([[1, 0, -1, 0], [1, 0, -1, 0], [1, 0, -1, 0], [0, 0, 0, 0]]); // prettier-ignore
    expect(withKernelSize(four, 3).kernel).toEqual(FIRST.setting.kernel);
  });
  test("channels, filters and groups go together at every step", () => {
    let setting = FIRST.setting;
    for (let channels = 1; channels <= 4; channels++)
      for (let filters = 1; filters <= 4; filters++) {
        setting = withFilters(withChannels(setting, channels), filters);
        for (const groups of possibleGroups(channels, filters)) {
          setting = withGroups(setting, groups);
          expect(setting.kernel.map((slices) => slices.length)).toEqual(Array(filters).fill(channels / groups));
          expect(setting.bias.length).toBe(filters);
          expect(outputOf(setting).length).toBe(filters);
        }
      }
  });
  test("a count that the groups do not divide ends the groups", () => {
    const grouped = withGroups(withFilters(withChannels(FIRST.setting, 4), 4), 4);
    expect(withChannels(grouped, 3).groups).toBe(1);
    expect(withFilters(grouped, 2).groups).toBe(1);
  });
  test("a named filter replaces one filter and sets the size of all", () => {
    const two = withFilters(FIRST.setting, 2);
    const named = withNamedFilter(two, 1, [[1]], 2);
    expect(named.kernel).toEqual([[[[0]]], [[[1]]]]);
    expect(named.divisor).toBe(2);
  });
  test("an input of another size keeps what fits", () => {
    expect(withInputSize({ ...blank(), input: [[[1, 2], [3, 4]]] }, 1, 3).input).toEqual([[[1, 2, 0]]]); // prettier-ignore
  });
});

describe("what cannot be computed is explained", () => {
  test("a window larger than the image", () => {
    const setting = { ...FIRST.setting, dilation: 3 };
    expect(outputSize(setting)).toEqual({ height: 0, width: 0 });
    expect(obstacle(setting)).toMatch(/3 × 3, spread over 7 pixels.*6 pixels/);
  });
  test("a reflection beyond the image, and a pooling window outside it", () => {
    expect(obstacle({ ...FIRST.setting, mode: "reflect", padding: evenly(6) })).toMatch(/at most 5/);
    expect(obstacle({ ...FIRST.setting, operation: "max", padding: evenly(2) })).toMatch(/at most 1/);
  });
  test("nothing else", () => {
    expect(obstacle(FIRST.setting)).toBeNull();
    expect(obstacle({ ...FIRST.setting, mode: "reflect", padding: evenly(5) })).toBeNull();
  });
});

test("numbers are written without the noise of binary fractions, with a true minus", () => {
  expect([0.1 + 0.2, -3, -0, 1 / 9, 1e-7, -1 / 0, 25.999999999999996].map((value) => written(value))).toEqual(
    ["0.3", "−3", "0", "0.1111", "1.0e−7", "−∞", "26"], // prettier-ignore
  );
  expect([asTerm(-2), asTerm(2)]).toEqual(["(−2)", "2"]);
});

test("what is typed is read as people write it", () => {
  expect(["3", " −3 ", "-0.5", ",5", "1/9", "1e3", "", "x", "1/0", "9999999", "2."].map(typed)).toEqual(
    [3, -3, -0.5, 0.5, 1 / 9, null, null, null, null, null, 2], // prettier-ignore
  );
});

test("an answer is right exactly, or to two decimals where the number goes on", () => {
  expect([agrees(3, 3), agrees(3.004, 3), agrees(-0.55, -5 / 9), agrees(-0.56, -5 / 9), agrees(-0.54, -5 / 9)]).toEqual(
    [true, false, true, true, false], // prettier-ignore
  );
});

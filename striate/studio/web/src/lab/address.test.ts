import { describe, expect, test } from "vitest";
import { read, write, type Query } from "./address";
import { outputOf, type Setting } from "./arithmetic";
import { FIRST, PRESETS, type Preset } from "./presets";
import { blank, withChannels, withFilters, withGroups, withPixel } from "./settings";

const query = (setting: Setting, preset: Preset = FIRST): Query =>
  Object.fromEntries(Object.entries(write(setting, preset)).filter((pair): pair is [string, string] => pair[1] !== null));

test.each(PRESETS)("$id comes back from its address, which is its name alone", (preset) => {
  const address = query(preset.setting, preset);
  expect(Object.keys(address)).toEqual(preset === FIRST ? [] : ["example"]);
  expect(read(address)).toMatchObject({ preset, setting: preset.setting, pristine: true, refused: [] });
});

test.each([
  ["channels", withChannels(FIRST.setting, 3)],
  ["groups", withGroups(withFilters(withChannels(FIRST.setting, 4), 4), 2)],
  ["thirds", withPixel(FIRST.setting, 0, 1, 1, 1 / 3)],
  ["one side", { ...FIRST.setting, padding: { top: 1, bottom: 0, left: 2, right: 3 } }],
  [
    "all else",
    { ...blank(), operation: "max", window: 3, rounding: "ceil", mode: "reflect", dilation: 2, flipped: true, divisor: 4 },
  ],
] as const)("a changed setting comes back: %s", (_, setting) => {
  const got = read(query(setting as Setting));
  expect(got.setting).toEqual(setting);
  expect(got).toMatchObject({ pristine: false, refused: [] });
});

test("an address is short: only what was changed", () => {
  expect(query({ ...FIRST.setting, stride: 2 })).toEqual({ stride: "2" });
});

describe("an address that cannot be", () => {
  test.each([
    [{ example: "s9.none" }, "example"],
    [{ input: "1,2/3" }, "input"],
    [{ input: "1,x" }, "input"],
    [{ input: "" }, "input"],
    [{ input: "1e300" }, "input"],
    [{ input: Array(30).fill("1").join("/") }, "input"],
    [{ input: "1:2:3:4:5" }, "input"],
    [{ kernel: "1,1:2,2:3" }, "kernel"],
    [{ kernel: Array(8).fill("1").join(",") }, "kernel"],
    [{ input: "1,2/3,4:1,2/3,4" }, "kernel"],
    [{ groups: "3" }, "kernel"],
    [{ bias: "1,2" }, "bias"],
    [{ stride: "0" }, "stride"],
    [{ stride: "-1" }, "stride"],
    [{ dilation: "99" }, "dilation"],
    [{ padding: "1,2" }, "padding"],
    [{ padding: "100" }, "padding"],
    [{ divisor: "0" }, "divisor"],
    [{ op: "median" }, "op"],
    [{ flip: "yes" }, "flip"],
    [{ example: "constructor" }, "example"],
  ])("%o is refused by name, and what is shown can be computed", (address: Query, name) => {
    const { setting, refused } = read(address);
    expect(refused).toContain(name);
    expect(setting.bias.length).toBe(setting.kernel.length);
    expect(() => outputOf(setting)).not.toThrow();
  });
});

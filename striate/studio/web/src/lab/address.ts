// A setting as it stands in the address: the example it began as, and what was changed since.
//
// A plane is written row by row, `1,0,-1/1,0,-1/1,0,-1`; several are separated by colons. Whatever an address says is checked
// before it is shown: it may have been typed, cut off in a mail, or written by somebody who means harm.

import { item, type Operation, type PaddingMode, type Plane, type Setting } from "./arithmetic";
import { evenPadding, MOST, possibleGroups } from "./settings";
import { FIRST, findPreset, type Preset } from "./presets";

export type Query = Readonly<Record<string, string>>;

export const OPERATIONS: readonly Operation[] = ["convolution", "max", "average", "sum"];
export const MODES: readonly PaddingMode[] = ["zeros", "reflect", "replicate"];
const LONGEST_NUMBER = 12;

const writePlanes = (planes: Plane[]): string => planes.map((plane) => plane.map((row) => row.join(",")).join("/")).join(":");

/** Numbers between commas; null where one is none. Long decimals, of a third for example, come back as they were. */
function readNumbers(text: string): number[] | null {
  const words = text.split(",");
  const numbers = words.map(Number);
  const fine = (number: number, i: number) =>
    Number.isFinite(number) &&
    Math.abs(number) < 1e6 &&
    item(words, i).trim() !== "" &&
    item(words, i).length < 2 * LONGEST_NUMBER;
  return numbers.every(fine) ? numbers : null;
}

function readPlanes(text: string, height: number, width: number): Plane[] | null {
  const planes: Plane[] = [];
  for (const part of text.split(":")) {
    const rows = part.split("/").map(readNumbers);
    const first = rows[0];
    if (!first || rows.length > height || first.length > width) return null;
    if (rows.some((row) => row?.length !== first.length)) return null;
    planes.push(rows as Plane);
  }
  const same = planes.every((plane) => plane.length === planes[0]?.length && plane[0]?.length === planes[0]?.[0]?.length);
  return same ? planes : null;
}

const writePadding = (setting: Setting): string => {
  const { top, bottom, left, right } = setting.padding;
  return evenPadding(setting.padding) === null ? [top, bottom, left, right].join(",") : String(top);
};

/** Every field as text, in the order of the address. */
function fields(setting: Setting): Record<string, string> {
  return {
    op: setting.operation,
    input: writePlanes(setting.input),
    kernel: writePlanes(setting.kernel.flat()),
    groups: String(setting.groups),
    bias: setting.bias.join(","),
    divisor: String(setting.divisor),
    window: String(setting.window),
    stride: String(setting.stride),
    dilation: String(setting.dilation),
    padding: writePadding(setting),
    mode: setting.mode,
    rounding: setting.rounding,
    flip: setting.flipped ? "1" : "0",
  };
}

/** The address of a setting: null takes away what is as in the example. */
export function write(setting: Setting, preset: Preset): Record<string, string | null> {
  const base = fields(preset.setting);
  const differing = Object.entries(fields(setting)).map(([name, text]) => [name, text === base[name] ? null : text]);
  return { example: preset === FIRST ? null : preset.id, ...Object.fromEntries(differing) };
}

export interface Read {
  preset: Preset;
  setting: Setting;
  /** Whether nothing differs from the example. */
  pristine: boolean;
  /** What the address asked for in vain. */
  refused: string[];
}

/** What an address shows. Fields that cannot be are as in the example, and named in `refused`. */
export function read(query: Query): Read {
  const refused: string[] = [];
  const preset = findPreset(query.example ?? FIRST.id) ?? (refused.push("example"), FIRST);
  const base = preset.setting;

  function field<T>(name: string, otherwise: T, parse: (text: string) => T | null): T {
    const text = query[name];
    if (text === undefined) return otherwise;
    const value = parse(text);
    if (value === null) refused.push(name);
    return value ?? otherwise;
  }
  const whole = (least: number, most: number) => (text: string) =>
    /^\d{1,2}$/.test(text) && Number(text) >= least && Number(text) <= most ? Number(text) : null;
  const word =
    <T extends string>(known: readonly T[]) =>
    (text: string) =>
      known.find((one) => one === text) ?? null;

  const input = field("input", base.input, (text) => atMost(readPlanes(text, MOST.height, MOST.width), MOST.channels));
  const planes = field("kernel", base.kernel.flat(), (text) => readPlanes(text, MOST.kernel, MOST.kernel));
  const groups = field("groups", base.groups, whole(1, MOST.channels));
  const filters = (planes.length * groups) / input.length;
  const matching = Number.isInteger(filters) && filters <= MOST.filters && possibleGroups(input.length, filters).includes(groups);
  if (!matching) refused.push("kernel");
  const bias = field("bias", matching ? new Array<number>(filters).fill(0) : base.bias, (text) => readNumbers(text));
  const setting: Setting = {
    operation: field("op", base.operation, word(OPERATIONS)),
    input: matching ? input : base.input,
    kernel: matching ? grouped(planes, input.length / groups) : base.kernel,
    groups: matching ? groups : base.groups,
    bias: query.bias === undefined && base.bias.length === filters ? base.bias : bias,
    divisor: field("divisor", base.divisor, (text) => (Number(text) > 0 && Number(text) < 1e6 ? Number(text) : null)),
    window: field("window", base.window, whole(1, MOST.kernel)),
    stride: field("stride", base.stride, whole(1, MOST.stride)),
    dilation: field("dilation", base.dilation, whole(1, MOST.dilation)),
    padding: field("padding", base.padding, readPadding),
    mode: field("mode", base.mode, word(MODES)),
    rounding: field("rounding", base.rounding, word(["floor", "ceil"] as const)),
    flipped: field("flip", base.flipped, (text) => (text === "1" ? true : text === "0" ? false : null)),
  };
  if (setting.bias.length !== setting.kernel.length) {
    refused.push("bias");
    setting.bias = setting.kernel.map(() => 0);
  }
  const pristine = Object.keys(fields(setting)).every((name) => fields(setting)[name] === fields(base)[name]);
  return { preset, setting, pristine, refused: [...new Set(refused)] };
}

const atMost = (planes: Plane[] | null, most: number): Plane[] | null => (planes && planes.length <= most ? planes : null);

function grouped(planes: Plane[], each: number): Plane[][] {
  return Array.from({ length: planes.length / each }, (_, i) => planes.slice(i * each, (i + 1) * each));
}

function readPadding(text: string): Setting["padding"] | null {
  const numbers = readNumbers(text);
  if (!numbers?.every((number) => Number.isInteger(number) && number >= 0 && number <= MOST.padding)) return null;
  const [top, bottom = top, left = top, right = top] = numbers;
  const complete = numbers.length === 1 || numbers.length === 4;
  return complete && top !== undefined ? ({ top, bottom, left, right } as Setting["padding"]) : null;
}

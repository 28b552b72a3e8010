// What a student is asked before it is shown, with hints that lead there and the reckoning that explains it.

import { axes, droppedPixels, isPooling, kernelSize, outputSize, parameters, readCounts, span, type Axis, type Setting, type Tap, type Unit } from "./arithmetic"; // prettier-ignore
import { asTerm, counted, written } from "./numbers";
import { evenly, obstacle, withKernelSize } from "./settings";

export const ASKS = ["value", "size", "dropped", "parameters"] as const;
export type Ask = (typeof ASKS)[number];

export const ASK_TITLES: Record<Ask, string> = {
  value: "The number",
  size: "The size",
  dropped: "Dropped pixels",
  parameters: "Parameters",
};

export interface Question {
  text: string;
  /** What each field of the answer is called. */
  fields: string[];
  right: number[];
  hints: string[];
  explanation: string;
}

export function question(ask: Ask, setting: Setting, unit: Unit): Question {
  return { value: valueQuestion, size: sizeQuestion, dropped: droppedQuestion, parameters: parameterQuestion }[ask](
    setting,
    unit,
  );
}

const joined = (numbers: number[]): string => numbers.map((number) => asTerm(number)).join(" + ");

/** Taps by rows of the window, channel after channel. */
export function tapRows(taps: Tap[]): Tap[][] {
  const rows = new Map<string, Tap[]>();
  for (const tap of taps) {
    const key = `${tap.channel},${tap.row}`;
    rows.set(key, [...(rows.get(key) ?? []), tap]);
  }
  return [...rows.values()];
}

function valueQuestion(setting: Setting, unit: Unit): Question {
  const where = `at row ${unit.row}, column ${unit.column}${setting.kernel.length > 1 && !isPooling(setting) ? ` of filter ${unit.filter}` : ""}`;
  const text = `Which number comes out ${where}?`;
  const shared = { text, fields: ["Number"], right: [unit.value] };
  const values = unit.taps.map((tap) => tap.value);
  const total = values.reduce((sum, value) => sum + value, 0);
  if (setting.operation === "max") {
    const sorted = [...values].filter(Number.isFinite).sort((a, b) => b - a);
    const hints = [
      "Look for the largest number in the window. Padding never wins.",
      `It is more than ${written((sorted[1] ?? sorted[0] ?? 0) - 1)}.`,
    ];
    return { ...shared, hints, explanation: `max(${values.map((value) => written(value)).join(", ")}) = ${written(unit.value)}` };
  }
  if (setting.operation !== "convolution") {
    const mean = setting.operation === "average" ? ` / ${values.length}` : "";
    const hints = [
      mean
        ? `Add the ${values.length} numbers in the window, then divide by ${values.length}.`
        : "Add the numbers in the window.",
      `They sum to ${written(total)}.`,
    ];
    return {
      ...shared,
      hints: mean ? hints : hints.slice(0, 1),
      explanation: `(${joined(values)})${mean} = ${written(unit.value)}`,
    };
  }
  const rows = tapRows(unit.taps).map((row) => row.reduce((sum, tap) => sum + tap.product, 0));
  const after = [unit.divisor === 1 ? "" : ` / ${written(unit.divisor)}`, unit.bias === 0 ? "" : ` + ${asTerm(unit.bias)}`];
  const sum = after[0] ? `(${joined(rows)})` : joined(rows);
  const extra = [
    unit.divisor === 1 ? "" : `, divide by ${written(unit.divisor)}`,
    unit.bias === 0 ? "" : ", and add the bias",
  ].join("");
  const hints = [
    `Multiply each number in the window with the kernel's number on it (the small ×). Add the ${unit.taps.length} products${extra}.`,
    `Row by row the products sum to ${rows.map((row) => written(row)).join(", ")}.`,
  ];
  return { ...shared, hints, explanation: `${sum}${after.join("")} = ${written(unit.value)}` };
}

const fit = (axis: Axis): string =>
  `(${axis.length} + ${axis.before} + ${axis.after} − ${span(axis.kernel, axis.dilation)}) / ${axis.stride}`;

function sizeQuestion(setting: Setting): Question {
  const { rows, columns } = axes(setting);
  const { height, width } = outputSize(setting);
  const spread = setting.dilation > 1 ? ` The window reaches over ${span(rows.kernel, rows.dilation)} pixels.` : "";
  const rounded = rows.rounding === "floor" ? "rounded down" : "rounded up";
  return {
    text: "How many rows and columns does the output have?",
    fields: ["Rows", "Columns"],
    right: [height, width],
    hints: [
      `How many steps of ${setting.stride} can the window take before it would leave the padded input? One place more than steps.${spread}`,
      `Steps: pixels with padding, less the window, over the stride: ${fit(rows)}, ${rounded}.`,
    ],
    explanation: `Rows: ${fit(rows)}, ${rounded}, + 1 = ${height}. Columns: ${fit(columns)}, ${rounded}, + 1 = ${width}.`,
  };
}

function droppedQuestion(setting: Setting): Question {
  const { rows, columns } = axes(setting);
  const counts = readCounts(setting);
  const unread = (lines: number[][]) => lines.filter((line) => line.every((count) => count === 0)).length;
  const lost = [unread(counts), unread((counts[0] ?? []).map((_, x) => counts.map((row) => row[x] ?? 0)))] as const;
  const kept = `(${rows.length} − ${lost[0]}) · (${columns.length} − ${lost[1]})`;
  return {
    text: "How many pixels of the input does no window read?",
    fields: ["Pixels"],
    right: [droppedPixels(setting)],
    hints: [
      "Follow the window to its last place in a row, and down to its last row. What does it never touch?",
      `It never touches ${counted(lost[0], "row")} and ${counted(lost[1], "column")}.`,
    ],
    explanation: `All pixels less those that are read: ${rows.length} · ${columns.length} − ${kept} = ${droppedPixels(setting)}.`,
  };
}

function parameterQuestion(setting: Setting): Question {
  const text = "How many numbers would training learn in this layer?";
  const shared = { text, fields: ["Parameters"], right: [parameters(setting)] };
  if (isPooling(setting))
    return {
      ...shared,
      hints: ["What is there in a maximum or a mean that could be learned?"],
      explanation: "Pooling has no weights: 0.",
    };
  const { height, width } = kernelSize(setting);
  const filters = setting.kernel.length;
  const each = setting.input.length / setting.groups;
  return {
    ...shared,
    hints: [
      "Weights of one filter: height × width × the channels that it reads. Then its bias. Then all filters.",
      `One filter has ${height} · ${width} · ${each} weights and 1 bias. The size of the image does not matter.`,
    ],
    explanation: `${filters} · (${height} · ${width} · ${each} + 1) = ${parameters(setting)}.`,
  };
}

/** Another setting to ask sizes of: the same numbers, another window, stride and padding. */
export function varied(setting: Setting, random: () => number): Setting {
  const pick = (least: number, most: number) => least + Math.floor(random() * (most - least + 1));
  for (;;) {
    const even = { ...setting, stride: pick(1, 3), padding: evenly(pick(0, 2)), dilation: random() < 0.25 ? 2 : 1 };
    const other = withKernelSize(even, pick(2, 4));
    if (obstacle(other) === null) return other;
  }
}

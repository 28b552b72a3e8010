/** What the studio tells of a picture in a network, and where its numbers stand. */

import type { Listed } from "../try/tried";

export interface Known {
  models: Listed[];
  /** `resnet18@untrained` */
  untrained: string[];
  methods: Method[];
}

export interface Method {
  name: string;
  title: string;
  source: string;
  signed: boolean;
}

export interface Sample {
  name: string;
  label: string;
}

export interface Field {
  size: [number, number];
  jump: [number, number];
  offset: [number, number];
}

export interface Node {
  id: string;
  module: string;
  operation: string;
  kind: string;
  label: string;
  output_shapes: number[][];
  parameters: number;
  receptive_field: Field | null;
  source: { file: string; line: number; text: string } | null;
}

export interface Answer {
  look: string;
  network: string;
  trained: boolean;
  kind: "label" | "labels" | "value";
  value: number | null;
  top: { label: string; index: number; probability: number }[];
  /** Of the picture that the network reads: height, width, channels. */
  size: [number, number, number];
  /** It, as a data URI. */
  picture: string;
  /** That is shown at first. */
  layer: string;
  nodes: Node[];
}

/** Some maps of a layer, small: byte 128 is 0, 1 is -bound, 255 is bound, 0 no number. */
export interface Sheet {
  channels: number[];
  size: [height: number, width: number];
  bound: number;
  codes: string;
  num_maps: number;
}

type Nested = number | null | Nested[];

export interface Channel {
  channel: number;
  values: Nested;
  weights: Nested;
  products: Nested;
  sum: number | null;
}

export interface Window {
  /** A position in the input, null in the dimensions that the window covers: the channel first. */
  fixed: (number | null)[];
  coordinates: number[][];
  inside: boolean | Inside[];
  num_channels: number;
  channels: Channel[];
  rest: { channels: number; sum: number | null };
}
type Inside = boolean | Inside[];

export interface Term {
  input: number;
  position: number[];
  value: number | null;
  weight: number | null;
  product: number | null;
}

export interface Step {
  layer: string;
  operation: string;
  kind: string;
  unit: number[];
  output: number;
  inputs: { node: string; output: number; shape: number[] }[];
  formula: string;
  window: Window | null;
  terms: Term[];
  num_terms: number;
  bias: number | null;
  total: number | null;
  network: number | null;
  difference: number | null;
  bound: number | null;
  absolute_sum: number | null;
  agrees: boolean;
  statistics: Record<string, number | null>;
}

/** Rows and columns of the image, half-open. */
export type Box = [rows: [number, number], columns: [number, number]];

export interface Told {
  /** Which lead to the number and on from it, in the order of computing. */
  steps: Step[];
  /** Which of them is the number that was asked for. */
  asked: number;
  /** Of a number of the image: the pixel, and what normalises it. */
  pixel: { value: number; scale: number; mean: number; std: number } | null;
  field: Box | null;
}

export interface Sanity {
  layers: string[];
  num_layers: number[];
  rank_correlation: (number | null)[];
  ssim: (number | null)[];
  score: number | null;
  verdict: string;
}

/** One number of the network. */
export interface Unit {
  layer: string;
  unit: number[];
  output: number;
}

/** How a layer's output is laid out as one picture: a map of [C, H, W], a vector folded into rows, a matrix. */
export function laid(shape: readonly number[]): { height: number; width: number; length: number } | undefined {
  if (shape.some((side) => side < 1)) return undefined;
  if (shape.length === 3) return { height: shape[1], width: shape[2], length: shape[1] * shape[2] };
  if (shape.length === 2) return { height: shape[0], width: shape[1], length: shape[0] * shape[1] };
  if (shape.length !== 1) return undefined;
  const width = shape[0] <= 32 ? shape[0] : Math.floor(Math.sqrt(shape[0] - 1)) + 1;
  return { height: Math.ceil(shape[0] / width), width, length: shape[0] };
}

/** The position in the output of a place in that picture. */
export function unitAt(shape: readonly number[], channel: number, place: number): number[] {
  if (shape.length === 1) return [place];
  const width = shape[shape.length - 1];
  const position = [Math.floor(place / width), place % width];
  return shape.length === 3 ? [channel, ...position] : position;
}

/** The place in that picture of a position in the output. */
export function placeOf(shape: readonly number[], unit: readonly number[]): number {
  if (shape.length === 1) return unit[0];
  return unit[unit.length - 2] * shape[shape.length - 1] + unit[unit.length - 1];
}

/** The part of the image that one number of a map depends on, where its layer says so; undefined: the studio is to be asked. */
export function boxOf(field: Field | null, unit: readonly number[], size: readonly number[]): Box | undefined {
  if (!field || unit.length !== 3) return undefined;
  const along = (axis: 0 | 1): [number, number] => {
    if (field.jump[axis] === 0) return [0, size[axis]];
    const first = field.offset[axis] + unit[axis + 1] * field.jump[axis];
    return [Math.max(0, first), Math.min(size[axis], first + field.size[axis])];
  };
  return [along(0), along(1)];
}

/** A window's numbers as rows, each with its place along every axis of the window. */
export interface Cell {
  path: number[];
  value: number | null;
}
export function rows(nested: Nested): Cell[][] {
  if (!Array.isArray(nested)) return [[{ path: [], value: nested }]];
  if (!nested.length || !Array.isArray(nested[0])) {
    return [nested.map((value, at) => ({ path: [at], value: value as number | null }))];
  }
  return nested.flatMap((part, at) => rows(part).map((row) => row.map(({ path, value }) => ({ path: [at, ...path], value }))));
}

/** Whether a number of the window is one of the input, not padding around it. */
export function isInside(inside: Inside, path: readonly number[]): boolean {
  return path.reduce<Inside>((part, at) => (Array.isArray(part) ? part[at] : part), inside) === true;
}

/** Where in the input a number of the window stands. */
export function position(
  { fixed, coordinates }: Pick<Window, "fixed" | "coordinates">,
  channel: number,
  path: readonly number[],
): number[] {
  const moving = [channel, ...path.map((at, axis) => coordinates[axis][at])];
  return fixed.map((each) => each ?? (moving.shift() as number));
}

/** Little-endian numbers in base64. */
export function floatsOf(text: string): Float32Array {
  return new Float32Array(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
}

const BETWEEN = "~";

/** Numbers that were walked through, as a setting of the address: `fc@3~avgpool@460,0,0`. */
export function written(walk: readonly Unit[]): string {
  return walk.map(({ layer, unit, output }) => `${layer}@${unit.join(",")}${output ? `@${output}` : ""}`).join(BETWEEN);
}

/** Those of an address; what is none is left out. */
export function read(text: string): Unit[] {
  return text.split(BETWEEN).flatMap((each) => {
    const [layer, unit, output] = each.split("@");
    const place = unit?.split(",").map(Number) ?? [];
    return layer && place.length && place.every(Number.isInteger)
      ? [{ layer, unit: place, output: Number(output ?? 0) || 0 }]
      : [];
  });
}

/** `[64, 56, 56]` -> `64 × 56 × 56`. */
export function times(shape: readonly number[]): string {
  return shape.length ? shape.join(" × ") : "one number";
}

/** A number with its sign, to so many significant digits: +0.5214, −3.1e−8, 0. */
export function number(value: number | null, digits = 4): string {
  if (value === null) return "no number";
  if (value === 0) return "0";
  const size = Math.abs(value);
  const text =
    size >= 1e-4 && size < 1e6 ? String(Number(size.toPrecision(digits))) : size.toExponential(Math.min(digits, 3) - 1);
  return `${value < 0 ? "−" : "+"}${text.replace("e-", "e−").replace("e+", "e")}`;
}

/** Without the plus. */
export function plainNumber(value: number | null, digits = 4): string {
  return number(value, digits).replace("+", "");
}

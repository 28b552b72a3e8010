/** A network as the studio tells it: `striate.look.LayerGraph.to_json()`, and what was asked. */

export type Shape = readonly number[];

export interface Field {
  size: [height: number, width: number];
  /** [0, 0]: the whole image. */
  jump: [vertical: number, horizontal: number];
}

export interface Node {
  id: string;
  path: string;
  module: string;
  operation: string;
  kind: string;
  label: string;
  call: number;
  in_place: boolean;
  source: { file: string; line: number; text: string } | null;
  input_shapes: Shape[];
  output_shapes: Shape[];
  parameters: number;
  shared_parameters: number;
  macs: number;
  receptive_field: Field | null;
  stage: string | null;
}

export interface Edge {
  source: string;
  target: string;
  shape: Shape;
  output: number;
  argument: number;
}

export interface Block {
  path: string;
  module: string;
  repeats: number;
  paths: string[];
  parts: (Block | string)[];
  repetitions: string[][];
}

export interface Failure {
  path: string;
  what: string;
  where: string | null;
  why: string | null;
  fix: string | null;
}

export interface Graph {
  name: string;
  outputs: string[];
  modules: Record<string, string>;
  parameters: number;
  unused_parameters: number;
  macs: number;
  uncounted: string[];
  nodes: Node[];
  edges: Edge[];
  blocks: (Block | string)[];
  failure: Failure | null;
  kind: "zoo" | "opened" | "file";
  /** What the Inside screen calls it; null: it cannot be opened there. */
  inside: string | null;
  /** Shape of its own image. */
  own: Shape;
  /** Shapes it was given. */
  shapes: Shape[];
  /** Whether it can be built for another image. */
  buildable: boolean;
}

export interface Named {
  name: string;
  kind: Graph["kind"];
  note: string;
}

/** [64, 56, 56] -> "64 × 56 × 56"; what is one number, "1". */
export function shapeText(shape: Shape): string {
  return shape.length ? shape.join(" × ") : "1";
}

/** What a reader types as the shapes of the inputs, as addresses carry it: "3 × 64 × 64 + 10" -> "3x64x64+10"; undefined: it is none. */
export function readShapes(text: string): string | undefined {
  const plain = text
    .trim()
    .toLowerCase()
    .replace(/\s*\+\s*/g, "+")
    .replace(/\s*[x×,*\s]\s*/g, "x");
  return /^[1-9]\d*(x[1-9]\d*)*(\+[1-9]\d*(x[1-9]\d*)*)*$/.test(plain) ? plain : undefined;
}

export function writeShapes(shapes: readonly Shape[]): string {
  return shapes.map((shape) => shape.join("x")).join("+");
}

/** What a failure says to do, as an image that would fit: the command line's `--size 64` and `--channels 3`. */
export function remedy(fix: string | null, shape: Shape): { words: string; input: string } | undefined {
  const size = /--size (\d+)/.exec(fix ?? "")?.[1];
  const channels = /--channels (\d+)/.exec(fix ?? "")?.[1];
  if ((!size && !channels) || shape.length !== 3) return undefined;
  const fitting = [channels ? Number(channels) : shape[0], ...(size ? [Number(size), Number(size)] : shape.slice(1))] as number[];
  return { words: `Take ${shapeText(fitting)}`, input: writeShapes([fitting]) };
}

/** A network's layers as a tree of modules, of which some are folded: what stands in the drawing. */

import type { Block, Edge, Graph, Node, Shape } from "./graph";

/** A layer, a module, or a stretch that repeats. */
export interface Part {
  /** In the address: a layer's id, a module's path, `layer1.1*2` for a repeat. */
  key: string;
  path: string;
  /** A module's type; of a stretch of several parts, theirs. */
  title: string;
  repeats: number;
  /** All layers in it, in the order of their work. */
  ids: readonly string[];
  /** Of a layer alone: itself. */
  node: Node | undefined;
  /** No layer, but what the network returns, or the place where it breaks. */
  mark: "output" | "broken" | undefined;
  parts: readonly Part[];
  parent: Part | undefined;
}

export interface Tree {
  parts: readonly Part[];
  byKey: ReadonlyMap<string, Part>;
  /** The part that is a layer by itself. */
  byId: ReadonlyMap<string, Part>;
}

/** What a drawing or a table shows of it. */
export interface Sight {
  graph: Graph;
  tree: Tree;
  open: ReadonlySet<string>;
  chosen: string | undefined;
  onchoose: (key: string) => void;
  onfold: (key: string) => void;
}

/** Ids that no layer has. */
export const BROKEN = "!";
export const OUTPUT = "!output";
/** Boxes that are drawn before anybody unfolds anything, at most: whole depths of modules are opened as long as they fit. */
const FIRST_SIGHT = 36;

export function treeOf(graph: Graph): Tree {
  const nodes = new Map(graph.nodes.map((node) => [node.id, node]));
  const byKey = new Map<string, Part>();
  const byId = new Map<string, Part>();

  function add(key: string, rest: Omit<Part, "key" | "parts">): Part & { parts: Part[] } {
    let free = key;
    for (let number = 2; byKey.has(free); number++) free = `${key}~${number}`;
    const part = { key: free, ...rest, parts: [] as Part[] };
    byKey.set(free, part);
    return part;
  }
  /** The parts, with every layer renamed: the second repetition's stand where the first's are listed. */
  function make(parts: readonly (Block | string)[], names: ReadonlyMap<string, string>, parent: Part | undefined): Part[] {
    return parts.map((part) => (typeof part === "string" ? leaf(names.get(part) ?? part, parent) : block(part, names, parent)));
  }
  function leaf(id: string, parent: Part | undefined): Part {
    if (id === BROKEN) return breaking(graph.failure?.path ?? "", parent);
    const node = nodes.get(id);
    const part = add(id, { path: node?.path ?? "", title: "", repeats: 1, ids: [id], node, mark: undefined, parent });
    byId.set(id, part);
    return part;
  }
  function breaking(path: string, parent: Part | undefined): Part {
    const title = path ? (graph.modules[path] ?? "") : `forward() of ${graph.modules[""] ?? graph.name}`;
    return add(BROKEN, { path, title, repeats: 1, ids: [BROKEN], node: undefined, mark: "broken", parent });
  }
  function block(from: Block, names: ReadonlyMap<string, string>, parent: Part | undefined): Part {
    const runs = from.repetitions.map((ids) => ids.map((id) => names.get(id) ?? id));
    const title = from.module || stretchTitle(from, graph.modules, nodes);
    const paths = runs.map((ids) => moduleOf(ids[0], from));
    if (runs.length === 1) return inside(add(paths[0] ?? from.path, { path: paths[0] ?? "", title, repeats: 1, ids: runs[0] ?? [], node: undefined, mark: undefined, parent }), from.parts, names); // prettier-ignore
    const all = runs.flat();
    const whole = add(`${paths[0]}*${runs.length}`, { path: paths[0] ?? "", title, repeats: runs.length, ids: all, node: undefined, mark: undefined, parent }); // prettier-ignore
    for (const [number, ids] of runs.entries()) {
      const renamed = new Map((from.repetitions[0] ?? []).map((id, place) => [id, ids[place] ?? id]));
      const path = paths[number] ?? "";
      // A repeat of single layers: each is a layer, and no module around it.
      if (ids.length === 1 && ids[0]) whole.parts.push(leaf(ids[0], whole));
      else whole.parts.push(inside(add(from.module ? path : `${path}+`, { path, title, repeats: 1, ids, node: undefined, mark: undefined, parent: whole }), from.parts, renamed)); // prettier-ignore
    }
    return whole;
  }
  function inside(part: Part & { parts: Part[] }, parts: readonly (Block | string)[], names: ReadonlyMap<string, string>): Part {
    part.parts.push(...make(parts, names, part));
    return part;
  }
  /** The module of a repetition, as deep as that of the first. */
  function moduleOf(id: string | undefined, from: Block): string {
    const depth = from.path === "" ? 0 : from.path.split(".").length;
    return (nodes.get(id ?? "")?.path ?? "").split(".").slice(0, depth).join(".");
  }
  const blocks = graph.failure ? withBreak(graph.blocks, graph.failure.path) : graph.blocks;
  const parts = make(blocks, new Map(), undefined);
  if (!graph.failure && graph.outputs.length) {
    parts.push(add(OUTPUT, { path: "", title: "output", repeats: 1, ids: [OUTPUT], node: undefined, mark: "output", parent: undefined })); // prettier-ignore
  }
  return { parts, byKey, byId };
}

/** The blocks with the place where it breaks, as the last layer of the innermost module that it is in. */
function withBreak(blocks: readonly (Block | string)[], path: string): (Block | string)[] {
  const last = blocks.at(-1);
  const within = typeof last === "object" && last.repeats === 1 && last.module && `${path}.`.startsWith(`${last.path}.`);
  if (!within) return [...blocks, BROKEN];
  const ids = [...(last.repetitions[0] ?? []), BROKEN];
  return [...blocks.slice(0, -1), { ...last, parts: withBreak(last.parts, path), repetitions: [ids] }];
}

/** The tensors between layers, and those that the network returns, or that it broke upon. */
export function edgesOf(graph: Graph): Edge[] {
  const shapes = new Map(graph.nodes.map((node) => [node.id, node.output_shapes[0] ?? []]));
  const last = graph.nodes.at(-1)?.id;
  const sources = graph.failure ? (last ? [last] : []) : graph.outputs;
  const target = graph.failure ? BROKEN : OUTPUT;
  return [...graph.edges, ...sources.map((source, argument) => ({ source, target, shape: shapes.get(source) ?? [], output: 0, argument }))]; // prettier-ignore
}

/** "Conv2d, BatchNorm2d, ReLU" of the parts of a stretch. */
function stretchTitle(from: Block, modules: Readonly<Record<string, string>>, nodes: ReadonlyMap<string, Node>): string {
  const names = from.parts.map((part) => (typeof part === "string" ? (nodes.get(part)?.label.split(" ")[0] ?? part) : part.module || modules[part.path] || part.path)); // prettier-ignore
  return names.slice(0, 3).join(", ") + (names.length > 3 ? " …" : "");
}

/** Modules that stand open before anybody touches them: as many whole depths as fit at first sight, and the place where it
 * breaks; no repeat is unfolded. */
export function openAtFirst(tree: Tree): ReadonlySet<string> {
  const open = new Set(around(tree.byKey.get(BROKEN)).map(({ key }) => key));
  let level = tree.parts.filter(isModule);
  let boxes = tree.parts.length;
  while (level.length) {
    const more = level.reduce((sum, part) => sum + part.parts.length - 1, 0);
    if (boxes + more > FIRST_SIGHT) break;
    boxes += more;
    for (const part of level) open.add(part.key);
    level = level.flatMap((part) => part.parts.filter(isModule));
  }
  return open;
}

function isModule(part: Part): boolean {
  return part.parts.length > 0 && part.repeats === 1;
}

/** What stands open: those at first, with the changes that the address carries. */
export function opened(first: ReadonlySet<string>, changed: string): ReadonlySet<string> {
  const open = new Set(first);
  for (const key of changed.split(",").filter(Boolean)) if (!open.delete(key)) open.add(key);
  return open;
}

/** The changes that make `open` of `first`, in a stable order; null: none. */
export function changes(first: ReadonlySet<string>, open: ReadonlySet<string>): string | null {
  return (
    [...new Set([...first, ...open])]
      .filter((key) => first.has(key) !== open.has(key))
      .sort()
      .join(",") || null
  );
}

/** The parts in sight, top to bottom, with how deep each stands. */
export function visible(parts: readonly Part[], open: ReadonlySet<string>, depth = 0): { part: Part; depth: number }[] {
  return parts.flatMap((part) => [{ part, depth }, ...(open.has(part.key) ? visible(part.parts, open, depth + 1) : [])]);
}

/** The modules around a part, the innermost first. */
export function around(part: Part | undefined): Part[] {
  return part?.parent ? [part.parent, ...around(part.parent)] : [];
}

/** What a reader may type to find a part: every key that starts so or holds it, the shortest first. */
export function search(tree: Tree, words: string): Part[] {
  const wanted = words.trim().toLowerCase();
  if (!wanted) return [];
  const found = [...tree.byKey.values()].filter((part) =>
    `${part.key} ${part.node?.label ?? part.title}`.toLowerCase().includes(wanted),
  );
  const starts = (part: Part) => Number(!part.key.toLowerCase().startsWith(wanted));
  return found.sort((a, b) => starts(a) - starts(b) || a.key.length - b.key.length);
}

export interface Sums {
  parameters: number;
  shared: number;
  macs: number;
  layers: number;
  inputs: Shape[];
  outputs: Shape[];
}

/** What a part costs, and the shapes that go into it and come out. */
export function sumsOf(part: Part, nodes: ReadonlyMap<string, Node>, edges: readonly Edge[]): Sums {
  const mine = new Set(part.ids);
  const own = part.ids.flatMap((id) => nodes.get(id) ?? []);
  const entering = edges.filter((edge) => mine.has(edge.target) && !mine.has(edge.source));
  const leaving = edges.filter((edge) => mine.has(edge.source) && !mine.has(edge.target));
  const last = own.at(-1);
  const sum = (value: (node: Node) => number) => own.reduce((total, node) => total + value(node), 0);
  return {
    parameters: sum((node) => node.parameters),
    shared: sum((node) => node.shared_parameters),
    macs: sum((node) => node.macs),
    layers: own.length,
    inputs: part.node ? part.node.input_shapes : tensors(entering),
    outputs: part.node ? part.node.output_shapes : leaving.length ? tensors(leaving) : (last?.output_shapes ?? []),
  };
}

/** The shapes of distinct tensors, however many read them. */
function tensors(edges: readonly Edge[]): Shape[] {
  return [...new Map(edges.map((edge) => [`${edge.source}\n${edge.output}`, edge.shape])).values()];
}

/** Two networks beside each other: what each does at every size of its maps. */

import type { Graph, Node } from "./graph";

export interface AtSize {
  layers: number;
  /** Most channels that a map of this size has. */
  channels: number;
  parameters: number;
  macs: number;
}

/** A row a size, the largest first; `vectors` for what has no height. */
export interface Row {
  size: string;
  cells: (AtSize | undefined)[];
}

export function bySize(graphs: readonly Graph[]): Row[] {
  const all = graphs.map((graph) => sizes(graph.nodes));
  const sides = [...new Set(all.flatMap((found) => [...found.keys()]))];
  const area = (size: string) => (size === VECTORS ? 0 : size.split(" × ").reduce((product, side) => product * Number(side), 1));
  return sides.sort((a, b) => area(b) - area(a)).map((size) => ({ size, cells: all.map((found) => found.get(size)) }));
}

const VECTORS = "vectors";

function sizes(nodes: readonly Node[]): Map<string, AtSize> {
  const found = new Map<string, AtSize>();
  for (const node of nodes) {
    const shape = node.output_shapes[0] ?? [];
    const size = shape.length > 1 ? shape.slice(1).join(" × ") : VECTORS;
    const at = found.get(size) ?? { layers: 0, channels: 0, parameters: 0, macs: 0 };
    at.layers += Number(node.operation !== "input");
    at.channels = Math.max(at.channels, shape[0] ?? 1);
    at.parameters += node.parameters;
    at.macs += node.macs;
    found.set(size, at);
  }
  return found;
}

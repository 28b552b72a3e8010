import { describe, expect, it } from "vitest";
import { edgesOf, around, changes, openAtFirst, opened, OUTPUT, search, sumsOf, treeOf, visible } from "./folding";
import { readShapes, remedy, writeShapes, type Block, type Graph, type Node } from "./graph";
import { layOut, pathOf, type Drawn } from "./layout";
import { bySize } from "./sizes";
import { step } from "./walking";

function node(id: string, operation: string, more: Partial<Node> = {}): Node {
  const path = id.split(":")[0] ?? "";
  return { id, path, module: "", operation, kind: "function", label: operation, call: 1, in_place: false, source: null,
    input_shapes: [], output_shapes: [[4, 8, 8]], parameters: 0, shared_parameters: 0, macs: 0, receptive_field: null,
    stage: null, ...more }; // prettier-ignore
}

/** A graph whose edges are written "a>b". */
function graphOf(nodes: Node[], edges: string[], blocks: (Block | string)[], modules: Record<string, string> = {}): Graph {
  return {
    name: "made", outputs: [nodes.at(-1)?.id ?? ""], modules, parameters: 100, unused_parameters: 0, macs: 1000, uncounted: [], nodes,
    edges: edges.map((edge) => ({ source: edge.split(">")[0] ?? "", target: edge.split(">")[1] ?? "", shape: [4, 8, 8], output: 0, argument: 0 })),
    blocks, failure: null, kind: "file", inside: null, own: [3, 8, 8], shapes: [[3, 8, 8]], buildable: true,
  }; // prettier-ignore
}

const one = (path: string, parts: (Block | string)[], ids: string[]): Block => ({ path, module: "Block", repeats: 1, paths: [path], parts, repetitions: [ids] }); // prettier-ignore

/** Three residual blocks alike, each with a branch in a module of its own. */
const layers = [0, 1, 2].map((k) => [`b.${k}.conv`, `b.${k}.side.conv`, `b.${k}.side.norm`, `b.${k}:add`]);
const RESIDUAL = graphOf(
  [node("input", "input", { path: "" }), ...layers.flat().map((id) => node(id, id.endsWith("add") ? "add" : "conv2d", { parameters: 5, macs: 7 })), node("head", "linear")],
  ["input>b.0.conv", ...layers.flatMap(([conv, side, norm, add], k) => {
    const from = k ? layers[k - 1]?.[3] : "input";
    return [...(k ? [`${from}>${conv}`] : []), `${from}>${side}`, `${side}>${norm}`, `${conv}>${add}`, `${norm}>${add}`, `${from}>${add}`];
  }), "b.2:add>head"],
  ["input", { path: "b.0", module: "Block", repeats: 3, paths: ["b.0", "b.1", "b.2"], repetitions: layers, parts: [
    "b.0.conv", one("b.0.side", ["b.0.side.conv", "b.0.side.norm"], ["b.0.side.conv", "b.0.side.norm"]), "b.0:add"] }, "head"],
); // prettier-ignore

/** Skips within skips, as in a U-Net: e0 > e1 > ... > d1 > d0. */
const NESTED = graphOf(
  ["input", "e0", "e1", "e2", "d1", "d0"].map((id) => node(id, id === "input" ? "input" : "conv2d")),
  ["input>e0", "e0>e1", "e1>e2", "e2>d1", "e1>d1", "d1>d0", "e0>d0"],
  ["input", "e0", "e1", "e2", "d1", "d0"],
);

/** Four branches of 1, 2, 3 and 2 layers, one of which forks, behind one another. */
const BRANCHED = graphOf(
  ["input", "a1", "b1", "b2", "c1", "c2", "c3", "d1", "d2", "d3", "cat"].map((id) => node(id, id === "input" ? "input" : "conv2d")),
  ["input>a1", "input>b1", "b1>b2", "input>c1", "c1>c2", "c2>c3", "input>d1", "d1>d2", "d1>d3", "a1>cat", "b2>cat", "c3>cat", "d2>cat", "d3>cat"],
  ["input", "a1", "b1", "b2", "c1", "c2", "c3", "d1", "d2", "d3", "cat"],
); // prettier-ignore

const all = (graph: Graph) =>
  new Set([...treeOf(graph).byKey.values()].filter(({ parts }) => parts.length).map(({ key }) => key));
const DRAWINGS: [string, Graph, ReadonlySet<string>][] = [
  ["folded repeats", RESIDUAL, new Set()],
  ["unfolded repeats", RESIDUAL, all(RESIDUAL)],
  ["one repetition unfolded", RESIDUAL, new Set(["b.0*3", "b.1"])],
  ["skips within skips", NESTED, new Set()],
  ["branches", BRANCHED, new Set()],
];

function draw(graph: Graph, open: ReadonlySet<string>): Drawn {
  return layOut(treeOf(graph).parts, edgesOf(graph), open);
}

describe.each(DRAWINGS)("a drawing of %s", (_, graph, open) => {
  const { boxes, lines, width, height } = draw(graph, open);
  const within = (a: (typeof boxes)[0], b: (typeof boxes)[0]) => a.x >= b.x && a.y >= b.y && a.x + a.width <= b.x + b.width && a.y + a.height <= b.y + b.height; // prettier-ignore

  it("has every part that is in sight, within its bounds", () => {
    expect(boxes.map(({ part }) => part.key).sort()).toEqual(visible(treeOf(graph).parts, open).map(({ part }) => part.key).sort()); // prettier-ignore
    for (const box of boxes) expect(within(box, { ...box, x: 0, y: 0, width, height })).toBe(true);
  });

  it("has no boxes that overlap: apart, or a part within its frame", () => {
    for (const a of boxes) {
      for (const b of boxes) {
        if (a === b) continue;
        const apart = a.x + a.width <= b.x || b.x + b.width <= a.x || a.y + a.height <= b.y || b.y + b.height <= a.y;
        const held = around(a.part).includes(b.part) ? within(a, b) : around(b.part).includes(a.part) && within(b, a);
        expect(apart || held, `${a.part.key} and ${b.part.key}`).toBe(true);
      }
    }
  });

  it("has lines that begin and end at boxes or at frames' edges, and cross no box", () => {
    const shut = boxes.filter((box) => !box.open);
    for (const line of lines) {
      const [start, end] = [line.points[0], line.points.at(-1)];
      const touches = (x: number, y: number) => boxes.some((box) => x >= box.x && x <= box.x + box.width && [box.y, box.y + box.height, box.y + 28, box.y + box.height - 2].some((edge) => Math.abs(edge - y) < 0.01)); // prettier-ignore
      expect(start && touches(start.x, start.y), `${line.key} begins`).toBe(true);
      expect(end && touches(end.x, end.y), `${line.key} ends`).toBe(true);
      expect(pathOf(line)).not.toContain("NaN");
      for (const [i, a] of line.points.entries()) {
        const b = line.points[i + 1];
        if (i % 2 || !b || line.points.length === 2) continue;
        const crossed = shut.filter((box) => a.x > box.x && a.x < box.x + box.width && Math.max(a.y, box.y) < Math.min(b.y, box.y + box.height)); // prettier-ignore
        expect(crossed.map(({ part }) => part.key), line.key).toEqual([]); // prettier-ignore
      }
    }
  });

  it("leads every tensor from the box that made it to every box that reads it", () => {
    for (const { source, target } of edgesOf(graph)) {
      const [from, to] = [source, target].map((id) => boxes.find((box) => !box.open && box.part.ids.includes(id)));
      if (from === to) continue;
      const path = lines.filter((line) => line.source === source);
      expect(path.some((line) => line.arrow && line.targets.includes(target)), `${source} to ${target}`).toBe(true); // prettier-ignore
      expect(
        path.some(({ points }) => points[0]?.y === (from?.y ?? 0) + (from?.height ?? 0)),
        source,
      ).toBe(true);
    }
  });
});

describe("the middle way", () => {
  it("is straight, and skips run beside it", () => {
    const { boxes, lines } = draw(NESTED, new Set());
    expect(new Set(boxes.map(({ x }) => x)).size).toBe(1);
    const reach = (source: string) => Math.max(...lines.filter((line) => line.source === source).flatMap(({ points }) => points.map(({ x }) => x))); // prettier-ignore
    expect(reach("e0")).toBeGreaterThan(reach("e1"));
    expect(reach("e1")).toBeGreaterThan((boxes[0]?.x ?? 0) + (boxes[0]?.width ?? 0));
  });
});

describe("folding", () => {
  const tree = treeOf(RESIDUAL);

  it("names every layer of every repetition, each once", () => {
    expect([...tree.byId.keys()].sort()).toEqual(RESIDUAL.nodes.map(({ id }) => id).sort());
    expect(tree.byKey.get("b.2.side")?.ids).toEqual(["b.2.side.conv", "b.2.side.norm"]);
    expect(around(tree.byKey.get("b.2.side.conv")).map(({ key }) => key)).toEqual(["b.2.side", "b.2", "b.0*3"]);
  });

  it("leaves repeats folded at first, and counts what is in them", () => {
    const first = openAtFirst(tree);
    expect(visible(tree.parts, first).map(({ part }) => part.key)).toEqual(["input", "b.0*3", "head", OUTPUT]);
    const repeat = tree.byKey.get("b.0*3");
    const nodes = new Map(RESIDUAL.nodes.map((each) => [each.id, each]));
    expect(repeat && sumsOf(repeat, nodes, RESIDUAL.edges)).toMatchObject({ parameters: 60, macs: 84, layers: 12, inputs: [[4, 8, 8]], outputs: [[4, 8, 8]] }); // prettier-ignore
  });

  it("keeps in the address only what differs from the first sight", () => {
    const first = new Set(["a", "b"]);
    const open = new Set(["b", "c*2"]);
    const written = changes(first, open);
    expect(written).toBe("a,c*2");
    expect(opened(first, written ?? "")).toEqual(open);
    expect(changes(first, first)).toBeNull();
  });

  it("finds layers by their names, those that begin so first", () => {
    expect(search(tree, "B.1.S").map(({ key }) => key)).toEqual(["b.1.side", "b.1.side.conv", "b.1.side.norm"]);
    expect(search(tree, "norm")[0]?.key).toBe("b.0.side.norm");
    expect(search(tree, " ")).toEqual([]);
  });

  it("shows where a network breaks behind the last layer that worked", () => {
    const failure = { path: "b.1.conv", what: "", where: null, why: null, fix: null };
    const broken: Graph = { ...NESTED, failure, outputs: [] };
    const { boxes, lines } = draw(broken, new Set());
    expect(boxes.at(-1)?.part.mark).toBe("broken");
    expect(lines.some((line) => line.source === "d0" && line.targets.includes("!"))).toBe(true);
  });

  it("shows it within the modules that it breaks in, which stand open", () => {
    const ids = ["m.n.x", "m.n.y"];
    const blocks = ["input", one("m", [one("m.n", ids, ids)], ids)];
    const nodes = [node("input", "input", { path: "" }), ...ids.map((id) => node(id, "conv2d"))];
    const failure = { path: "m.n.z", what: "", where: null, why: null, fix: null };
    const broken = { ...graphOf(nodes, ["input>m.n.x", "m.n.x>m.n.y"], blocks), failure, outputs: [] };
    const tree = treeOf(broken);
    expect(around(tree.byKey.get("!")).map(({ key }) => key)).toEqual(["m.n", "m"]);
    expect(openAtFirst(tree)).toEqual(new Set(["m.n", "m"]));
    const { boxes, lines } = draw(broken, openAtFirst(tree));
    const [frame, cross] = [boxes.find(({ part }) => part.key === "m.n"), boxes.find(({ part }) => part.key === "!")];
    expect(frame && cross && cross.y > frame.y && cross.y + cross.height < frame.y + frame.height).toBe(true);
    expect(lines.some((line) => line.source === "m.n.y" && line.targets.includes("!"))).toBe(true);
    expect(treeOf({ ...broken, failure: { ...failure, path: "" } }).byKey.get("!")?.parent).toBeUndefined();
  });
});

describe("arrow keys", () => {
  const { boxes } = draw(BRANCHED, new Set());
  const edges = edgesOf(BRANCHED);
  const from = (key: string, way: "up" | "down" | "left" | "right") => {
    const box = boxes.find(({ part }) => part.key === key);
    return box && step(boxes, edges, box.part, way);
  };

  it("walk along lines, and between branches until the last", () => {
    expect(from("c1", "down")).toBe("c2");
    expect(from("c3", "down")).toBe("cat");
    expect(from("c1", "up")).toBe("input");
    expect(from("input", "up")).toBeUndefined();
    const walked = new Set<string>();
    let at: string | undefined = "c1";
    while ((at = from(at, "left"))) walked.add(at);
    at = "c1";
    while ((at = from(at, "right"))) walked.add(at);
    expect([...walked].sort()).toEqual(expect.arrayContaining(["a1", "b1", "d1"]));
  });
});

describe("shapes", () => {
  it("are read as people write them", () => {
    expect(readShapes(" 3 × 224 X 224 ")).toBe("3x224x224");
    expect(readShapes("3, 64,64 + 10")).toBe("3x64x64+10");
    for (const wrong of ["", "3x", "0x3x3", "a", "3x-4x4", "1.5x2x2"]) expect(readShapes(wrong)).toBeUndefined();
    expect(writeShapes([[3, 64, 64], [10]])).toBe("3x64x64+10");
  });

  it("that would fit are taken from the failure's words", () => {
    expect(remedy("--size 64", [3, 20, 30])?.input).toBe("3x64x64");
    expect(remedy("--channels 3", [1, 224, 224])?.input).toBe("3x224x224");
    expect(remedy("another one", [1, 2, 2])).toBeUndefined();
    expect(remedy(null, [10])).toBeUndefined();
  });

  it("of two networks stand beside each other, the largest first", () => {
    const small = graphOf([node("x", "conv2d", { output_shapes: [[2, 4, 4]], macs: 3 }), node("y", "linear", { output_shapes: [[10]] })], [], ["x", "y"]); // prettier-ignore
    const rows = bySize([NESTED, small]);
    expect(rows.map(({ size }) => size)).toEqual(["8 × 8", "4 × 4", "vectors"]);
    expect(rows[1]?.cells).toEqual([undefined, { layers: 1, channels: 2, parameters: 0, macs: 3 }]);
  });
});

import catalogue from "../../../../catalogue.json";
import { describe, expect, it } from "vitest";
import { depthwise, mobilenet, pointwise, standard, sum, type Layer } from "./cost";
import { familyOf, statedTop1, type Network } from "./networks";
import { HISTORY } from "./history";

const CATALOGUE = catalogue as Network[];

describe("the cost of a convolution", () => {
  it("is divided by 1/N + 1/K² where it is separable (arXiv:1704.04861, section 3.1)", () => {
    for (const layer of [
      { kernel: 3, inputs: 512, outputs: 512, map: 14 },
      { kernel: 5, inputs: 3, outputs: 7, map: 9 },
    ] satisfies Layer[]) {
      const ratio = sum(depthwise(layer), pointwise(layer)).macs / standard(layer).macs;
      expect(ratio).toBeCloseTo(1 / layer.outputs + 1 / layer.kernel ** 2, 12);
    }
  });

  it("of all of MobileNet is the network's own", () => {
    const ours = CATALOGUE.find(({ name }) => name === "mobilenet_v1");
    expect(mobilenet(true)).toEqual({ parameters: ours?.parameters, macs: ours?.macs });
  });

  it("with standard convolutions is table 4's: 29.3 M parameters, 4866 M multiply-adds", () => {
    const { parameters, macs } = mobilenet(false);
    expect(Math.round(parameters / 1e5) / 10).toBe(29.3);
    // Its figure leaves the classifier's 1.024 M out; that for separable convolutions does not.
    expect(Math.round((macs - 1024 * 1000) / 1e6)).toBe(4866);
  });

  it("follows the width multiplier and the resolution: tables 6 and 7", () => {
    expect(Math.round(mobilenet(true, 0.5).macs / 1e6)).toBe(149);
    expect(Math.round(mobilenet(true, 0.25).macs / 1e6)).toBe(41);
    expect(Math.round(mobilenet(true, 1, 128).macs / 1e6)).toBe(186);
  });
});

describe("the history", () => {
  it("names networks of the zoo, in the order of their years", () => {
    const known = new Map(CATALOGUE.map((network) => [network.name, network]));
    for (const { network } of HISTORY) expect(known.has(network), network).toBe(true);
    const years = HISTORY.map(({ network }) => known.get(network)?.year ?? 0);
    expect(years).toEqual([...years].sort((a, b) => a - b));
    expect(HISTORY[0].network).toBe("lenet1");
    expect(HISTORY.map(({ network }) => network)).toContain("mobilenet_v1");
  });
});

describe("the words of a paper", () => {
  it.each([
    ["top-1 70.6 % (ImageNet validation, table 4)", 70.6],
    ["top-1/top-5 error 40.7/18.2 % (ImageNet 2012 validation, ten crops)", 59.3],
    ["top-1/top-5 accuracy 57.1/80.2 % (ImageNet 2012 validation)", 57.1],
    ["top-1 / top-5 error 22.85 / 6.71 % (ImageNet validation, 10 crops)", 77.15],
    ["top-1 accuracy 79.0 %, top-5 94.5 % (ImageNet validation)", 79],
    ["top-5 error 10.07 % (ImageNet validation, 1 crop)", undefined],
    ["error 8.75 % (CIFAR-10 test)", undefined],
    ["", undefined],
  ])("%s", (words, top1) => expect(statedTop1(words)).toBe(top1));

  it("gives every network a family of its own", () => {
    expect(familyOf("seresnet50")).toBe("Residual");
    expect(familyOf("mobilenet_v3_small")).toBe("Mobile");
    expect(familyOf("xception")).toBe("Inception");
  });
});

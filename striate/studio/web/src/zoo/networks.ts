/** What the studio says of a network, and what the Zoo's pictures are drawn from. */

export interface Weights {
  tag: string;
  file: string;
  license: string;
  top1: number | null;
  top5: number | null;
}

export interface Network {
  name: string;
  year: number;
  input: [channels: number, height: number, width: number];
  parameters: number;
  macs: number;
  paper: string;
  /** What the paper states, in words; "" where it states nothing. */
  accuracy: string;
  weights: Weights[];
}

export const FAMILIES = ["Plain stacks", "Inception", "Residual", "Dense and squeezed", "Mobile", "Searched and modern"] as const;
export type Family = (typeof FAMILIES)[number];

const STARTS: readonly (readonly [Family, readonly string[]])[] = [
  ["Plain stacks", ["mlp", "lenet", "fashion", "letters", "alexnet", "zfnet", "vgg"]],
  ["Inception", ["googlenet", "inception", "xception"]],
  ["Residual", ["resnet", "resnext", "wide_resnet", "seresnet"]],
  ["Dense and squeezed", ["densenet", "squeezenet"]],
  ["Mobile", ["mobilenet", "shufflenet"]],
  ["Searched and modern", ["efficientnet", "regnet", "convnext"]],
];

export function familyOf(name: string): Family {
  return STARTS.find(([, starts]) => starts.some((start) => name.startsWith(start)))?.[0] ?? "Plain stacks";
}

/** The top-1 accuracy on ImageNet, in percent, that a paper's words state; undefined where they state none. */
export function statedTop1(words: string): number | undefined {
  if (!words.includes("ImageNet")) return undefined;
  const found = /top-1(?: ?\/ ?top-5)?( error)?(?: accuracy)? (\d+\.?\d*)/.exec(words);
  if (!found) return undefined;
  return found[1] ? +(100 - Number(found[2])).toFixed(3) : Number(found[2]);
}

/** Top-1 accuracy on ImageNet in percent: of published weights (one crop), or as the paper states it. */
export function top1Of(network: Network): { value: number; measured: boolean } | undefined {
  const published = network.weights.find(({ tag, top1 }) => tag.startsWith("imagenet") && top1 !== null);
  if (published?.top1) return { value: published.top1, measured: true };
  const stated = statedTop1(network.accuracy);
  return stated === undefined ? undefined : { value: stated, measured: false };
}

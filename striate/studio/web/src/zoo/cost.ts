/** What convolutions cost, exactly: A. Howard et al., MobileNets, arXiv:1704.04861, section 3.1. */

export interface Layer {
  /** Side of the square kernel. */
  kernel: number;
  inputs: number;
  outputs: number;
  /** Side of the square output map. */
  map: number;
}

export interface Cost {
  weights: number;
  macs: number;
}

/** One kernel through all input channels, for each output channel. */
export function standard({ kernel, inputs, outputs, map }: Layer): Cost {
  const weights = kernel * kernel * inputs * outputs;
  return { weights, macs: weights * map * map };
}

/** One kernel a channel. */
export function depthwise({ kernel, inputs, map }: Layer): Cost {
  const weights = kernel * kernel * inputs;
  return { weights, macs: weights * map * map };
}

/** 1 x 1, which mixes the channels. */
export function pointwise({ inputs, outputs, map }: Layer): Cost {
  const weights = inputs * outputs;
  return { weights, macs: weights * map * map };
}

export function sum(...costs: readonly Cost[]): Cost {
  return { weights: costs.reduce((all, { weights }) => all + weights, 0), macs: costs.reduce((all, { macs }) => all + macs, 0) };
}

/** MobileNet's blocks, table 1 of the paper: output channels and stride of each. */
const BLOCKS: readonly (readonly [outputs: number, stride: number])[] = [
  [64, 1], [128, 2], [128, 1], [256, 2], [256, 1], [512, 2],
  [512, 1], [512, 1], [512, 1], [512, 1], [512, 1], [1024, 2], [1024, 1],
]; // prettier-ignore

/** The whole of MobileNet at a width multiplier and an input size, with separable convolutions or with standard ones.
 *
 * Parameters hold two for each batch norm channel and the classifier's biases, as a built network's do. */
export function mobilenet(separable: boolean, width = 1, input = 224, classes = 1000): { parameters: number; macs: number } {
  let channels = scaled(32, width);
  let map = Math.ceil(input / 2);
  let total = standard({ kernel: 3, inputs: 3, outputs: channels, map });
  let norms = channels;
  for (const [outputs, stride] of BLOCKS) {
    map = Math.ceil(map / stride);
    const layer: Layer = { kernel: 3, inputs: channels, outputs: scaled(outputs, width), map };
    total = separable ? sum(total, depthwise(layer), pointwise(layer)) : sum(total, standard(layer));
    norms += (separable ? channels : 0) + layer.outputs;
    channels = layer.outputs;
  }
  const head = channels * classes;
  return { parameters: total.weights + 2 * norms + head + classes, macs: total.macs + head };
}

function scaled(channels: number, width: number): number {
  return Math.max(1, Math.round(channels * width));
}

/** One step of the history: a network, and what it brought. Facts are those of the papers that the zoo cites. */
export interface Step {
  network: string;
  title: string;
  idea: string;
}

export const HISTORY: readonly Step[] = [
  {
    network: "lenet1",
    title: "LeNet-1",
    idea: "Learnt kernels with shared weights, then averaging and subsampling: a network reads handwritten digits from their pixels.",
  },
  {
    network: "lenet5_1998",
    title: "LeNet-5",
    idea: "The pattern that stays: convolution and subsampling in turn, maps that shrink while they multiply, dense layers at the end.",
  },
  {
    network: "alexnet_2012",
    title: "AlexNet",
    idea: "The same pattern on a million photos: ReLU, dropout, augmentation and two GPUs nearly halve the error of all others.",
  },
  {
    network: "zfnet",
    title: "ZFNet",
    idea: "Looking inside with a deconvnet shows dead and aliased first filters: smaller kernels and strides mend them.",
  },
  {
    network: "vgg16",
    title: "VGG",
    idea: "Only 3 × 3: two in a row see 5 × 5 with fewer weights and one nonlinearity more. Depth counts; the dense layers hold most weights.",
  },
  {
    network: "googlenet",
    title: "GoogLeNet",
    idea: "Kernels of several sizes side by side, 1 × 1 convolutions that make channels cheap, no large dense layers: a tenth of VGG's weights.",
  },
  {
    network: "inception_v3",
    title: "Inception v3",
    idea: "Large kernels factorised, n × n into n × 1 and 1 × n; label smoothing; batch norm throughout.",
  },
  {
    network: "resnet50",
    title: "ResNet",
    idea: "Blocks learn what to add to their input. Gradients pass unhindered, and 152 layers train better than 34.",
  },
  {
    network: "xception",
    title: "Xception",
    idea: "Inception at its limit: one kernel a channel, then 1 × 1. The depthwise-separable convolution takes over.",
  },
  {
    network: "densenet121",
    title: "DenseNet",
    idea: "Every layer reads all the maps before it, concatenated: features are used again, and each layer may be narrow.",
  },
  {
    network: "squeezenet1_0",
    title: "SqueezeNet",
    idea: "Squeeze with 1 × 1, expand with 1 × 1 and 3 × 3: AlexNet's accuracy with a fiftieth of its weights.",
  },
  {
    network: "mobilenet_v1",
    title: "MobileNet",
    idea: "Separable convolutions from end to end, and two dials, width and resolution, that trade accuracy for cost.",
  },
  {
    network: "seresnet50",
    title: "SENet",
    idea: "A small network weighs the channels by what the whole image shows: squeeze and excitation.",
  },
  {
    network: "mobilenet_v2",
    title: "MobileNet v2",
    idea: "Inverted residuals: thin between blocks, wide within them, and no nonlinearity where it is thin.",
  },
  {
    network: "efficientnet_b0",
    title: "EfficientNet",
    idea: "A searched block, then depth, width and resolution scaled together by one number.",
  },
  {
    network: "convnext_tiny",
    title: "ConvNeXt",
    idea: "What transformers taught, given back: 7 × 7 depthwise kernels, layer norm, fewer activations. Convolution keeps up.",
  },
];

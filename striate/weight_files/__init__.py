"""Readers of weight files. None executes anything that a file holds.

PyTorch and safetensors files give a state dict. Those of Caffe and Keras know other layers, names and orders of axes: they
are first read as what they hold (``Layers``), then laid out as the modules of ours that a name map names.
"""

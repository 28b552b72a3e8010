"""Prediction over HTTP: micro-batches, decoding in processes of its own, and a limit on everything a client can send.

A request passes, in this order: :mod:`protocol` (how fast its bytes must come), :mod:`gate` (who may ask, and whether there is
room: refused before its body is read), :mod:`bodies` (what it holds), :mod:`decoding_pool` (from files to pixels),
:mod:`batching` (the network) and :mod:`service`, which ties them together. Nothing here imports torch.
"""

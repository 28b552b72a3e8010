"""Networks that have been exported, as callables: uint8 [N, C, H, W] -> raw outputs. Only ``torch_program`` imports torch."""

"""Sizes in which methods are soon computed: their rules hold, and are broken, at every size.

Few layers count; of a width much smaller than these, a method takes more steps to learn by heart, which takes longer.
"""

SMALLER = {
    "cmad": {"d": 16, "depth": 1, "layers": 1, "latents": 2},
    "corrkd": {"d": 20, "layers": 1},
    "cubemlp": {"d": 32, "length": 20},
    "dicmor": {"layers": 1, "flow_steps": 1, "flow_hidden": 16, "refiner_blocks": 1},
    "dmd": {"d": 20, "layers": 1},
    "ebmc": {"d": 16, "layers": 1},
    "gcnet": {"hidden": 16},
    "hrlf": {"d": 30, "layers": 1},
    "lnln": {"d": 32, "head_width": 8, "layers": 1, "fusion_layers": 1, "tokens": 4},
    "misa": {"hidden": 32, "rnn_hidden": 32, "feedforward": 64},
    "momke": {"d": 32, "layers": 1},
    "mplmm": {"d": 20, "layers": 1},
    "mult": {"d": 10, "layers": 1},
    "p_rmf": {"d": 32, "injections": 1, "layers": 1, "tokens": 4},
    "tfr_net": {"d": 12, "layers": 1, "fusion_layers": 1, "head_hidden": 32},
    "transm": {"d": 50, "units": 32, "encoder_layers": 1, "decoder_layers": 1},
}
DEPTHS = {
    "decoder_layers",
    "depth",
    "encoder_layers",
    "flow_steps",
    "fusion_layers",
    "injections",
    "layers",
    "refiner_blocks",
}
"""Those of the hyper-parameters above that say how often a part is repeated."""

"""MMSA's MulT, MISA and TFR-Net as contenders; run by the Python of an environment in which MMSA is installed.

What is changed, so that it runs on a CPU, without BERT weights, and does the same work as ours (see README.md here):
the text encoder hands given features through; an epoch ends before validation; each batch makes one optimiser step.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from importlib import import_module

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from easydict import EasyDict
from torch import nn
from torch.optim import lr_scheduler

FRAMES, DIMS, SAMPLES = 50, (300, 74, 35), 1284

TABLE = torch.randn(SAMPLES, FRAMES, DIMS[0], generator=torch.Generator().manual_seed(0))


class GivenFeatures(nn.Module):
    """In the place of BERT: row 0 of the text holds the sample's number, and its features are looked up."""

    def __init__(self, *args, **kwargs):
        super().__init__()

    def forward(self, text):
        features = TABLE[text[:, 0, 0].long()]
        return features * (text[:, 2] > 0)[:, :, None]  # row 2: which frames are kept


def patched(name):
    """MMSA's trainer of a method, its modules changed as said above. Packages hide their modules behind classes."""
    for path in ("missingTask.TFR_NET.model", "singleTask.MISA"):
        import_module(f"MMSA.models.{path}").BertTextEncoder = GivenFeatures
    plateau = lr_scheduler.ReduceLROnPlateau

    def quiet(optimizer, *args, verbose=False, **kwargs):  # the argument is gone from torch
        return plateau(optimizer, *args, **kwargs)

    path = {"mult": "singleTask.MULT", "misa": "singleTask.MISA", "tfr_net": "missingTask.TFR_NET"}[name]
    module = import_module(f"MMSA.trains.{path}")
    module.ReduceLROnPlateau = quiet
    module.tqdm = Progressless
    return getattr(module, path.split(".")[1])


class Progressless:
    def __init__(self, batches):
        self.batches = batches

    def __enter__(self):
        return self.batches

    def __exit__(self, *error):
        return False


class WithTextLSTM(nn.Module):
    """MISA with the language LSTM that MMSA left to BERT; widths as in the other two."""

    def __new__(cls, args):
        from MMSA.models.singleTask.MISA import MISA

        class Restored(MISA):
            def __init__(self, config):
                super().__init__(config)
                width = DIMS[0]
                self.trnn1 = nn.LSTM(width, width, bidirectional=True)
                self.trnn2 = nn.LSTM(2 * width, width, bidirectional=True)
                del self.bertmodel
                object.__setattr__(self, "bertmodel", self.run_text)
                self.project_t[0] = nn.Linear(4 * width, config.hidden_size)

            def run_text(self, text):
                lengths = text[:, 1].sum(1).int()
                first, second = self.extract_features(
                    GivenFeatures()(text), lengths, self.trnn1, self.trnn2, self.tlayer_norm
                )
                states = torch.cat((first, second), dim=2).permute(1, 0, 2).flatten(1)
                return states[:, None].expand(-1, FRAMES, -1)  # its mean over the frames is itself

        return Restored(args)


class Wrapped(nn.Module):
    """What MMSA calls AMIO, without alignment."""

    def __init__(self, model):
        super().__init__()
        self.Model = model

    def forward(self, *inputs):
        return self.Model(*inputs)


class Contender:
    def __init__(self, name, batch_size, variant):
        torch.set_num_threads(1)
        torch.manual_seed(0)
        trainer = patched(name)
        from MMSA.config import get_config_regression

        args = EasyDict(get_config_regression(name, "mosi"))
        args.update(
            feature_dims=list(DIMS), seq_lens=[FRAMES] * 3, device=torch.device("cpu"), train_mode="classification",
            num_classes=2, update_epochs=1, early_stop=1, KeyEval="Loss", cur_seed=0, model_name=name,
            dataset_name="mosi", use_bert=name != "mult", use_finetune=False, use_bert_finetune=False,
            model_save_path=os.devnull, batch_size=batch_size,
        )  # fmt: skip
        if name == "mult":
            # Ours: width 30, 5 heads and layers, dropouts alike everywhere, convolutions of one frame.
            args.update(
                dst_feature_dim_nheads=(30, 5), nlevels=5, conv1d_kernel_size_l=1, conv1d_kernel_size_a=1,
                conv1d_kernel_size_v=1, attn_dropout=0.1, attn_dropout_a=0.1, attn_dropout_v=0.1, relu_dropout=0.1,
                embed_dropout=0.25, res_dropout=0.1, text_dropout=0.25, output_dropout=0.0,
            )  # fmt: skip
            from MMSA.models.singleTask.MULT import MULT

            model = MULT(args)
        elif name == "misa":
            from MMSA.models.singleTask.MISA import MISA

            if variant == "fair":
                model = WithTextLSTM(args)
            else:
                model = MISA(args)
                model.project_t[0] = nn.Linear(DIMS[0], args.hidden_size)
        else:
            args.update(attn_dropout_a=0.2, attn_dropout_v=0.2, weight_sim_loss=0 if variant == "fair" else 5)
            from MMSA.models.missingTask.TFR_NET import TFR_NET

            model = TFR_NET(args)
            model.fusion_subnet.Model.classifier[-1] = nn.Linear(args.cls_hidden_dim, 2)
            if variant == "fair":
                self.without_temporal(model)
        self.trainer = trainer(args)
        self.trainer.do_test = lambda *a, **k: {"Loss": 1e9}
        self.trainer.metrics = lambda *a: {}
        self.model = Wrapped(model)
        if variant != "as is":
            self.detach_predictions()
        self.batches = self.make_batches(name, batch_size)

    @staticmethod
    def without_temporal(model):
        """Take out what the paper's TFR-Net (and ours) does not have: Transformers along the features."""
        attention = model.align_subnet
        for module in attention.modules():
            for final in ("trans_l_final", "trans_a_final", "trans_v_final"):
                if hasattr(module, final):
                    setattr(module, final, nn.Identity())

    def detach_predictions(self):
        """MMSA collects `outputs.cpu()`, which holds every batch's graph to the epoch's end; here, copies without."""
        original = torch.Tensor.cpu

        def cpu(tensor, *args, **kwargs):
            return original(tensor.detach(), *args, **kwargs)

        torch.Tensor.cpu = cpu

    def make_batches(self, name, batch_size):
        g = torch.Generator().manual_seed(1)
        a = torch.randn(SAMPLES, FRAMES, DIMS[1], generator=g)
        v = torch.randn(SAMPLES, FRAMES, DIMS[2], generator=g)
        y = torch.randint(0, 2, (SAMPLES,), generator=g)
        kept = [(torch.rand(SAMPLES, FRAMES, generator=g) > 0.3).float() for _ in range(3)]
        number = torch.arange(SAMPLES)[:, None].expand(-1, FRAMES).float()
        ones = torch.ones(SAMPLES, FRAMES)
        batches = []
        for rows in torch.arange(SAMPLES).split(batch_size):
            text = torch.stack([number, ones, ones], 1)[rows]
            batch = {"vision": v[rows], "audio": a[rows], "labels": {"M": y[rows]}}
            if name == "mult":
                batch["text"] = TABLE[rows]
            else:
                batch["text"] = text
            if name == "tfr_net":
                batch["text_m"] = torch.stack([number, ones, kept[0]], 1)[rows]
                batch["text_missing_mask"] = kept[0][rows]
                for key, x, k in (("audio", a, kept[1]), ("vision", v, kept[2])):
                    batch[f"{key}_m"] = x[rows] * k[rows][:, :, None]
                    batch[f"{key}_mask"] = ones[rows]
                    batch[f"{key}_missing_mask"] = k[rows]
            batches.append(batch)
        return batches

    def train(self):
        self.trainer.do_train(self.model, {"train": self.batches, "valid": None, "test": None})


def serve(contender):
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        getattr(contender, line.strip())()
        answer = {"seconds": time.perf_counter() - started, "result": None}
        answer["mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=("mult", "misa", "tfr_net"))
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--variant", choices=("as is", "detached", "fair"), default="detached")
    arguments = parser.parse_args()
    serve(Contender(arguments.name, arguments.batch_size, arguments.variant))

"""`modulewise export`: a trained network for others, without modulewise."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from modulewise.cli._options import Data, Run, Runs
from modulewise.errors import InvalidInput
from modulewise.files import place, write_atomic
from modulewise.runs.find import RUNS


def export(
    run: Run,
    to: Annotated[
        Path | None, typer.Option(help="write a program of torch.export: FILE.pt2")
    ] = None,
    state_dict: Annotated[
        Path | None, typer.Option(help="write the network's plain state_dict: FILE.pt")
    ] = None,
    runs: Runs = RUNS,
    data: Data = Path("data"),
) -> None:
    """Write a trained network as a program or as weights.

    The program is the network as it is deployed, with its data's normalisation, for batches of any
    size; torch.export.load reads it, modulewise is not needed. The state_dict is that of the
    network alone, for normalised images. The run must have kept its weights (modulewise train
    --keep-weights). docs/use-a-trained-network.md has more.

    Examples:
        modulewise export d0768ac3 --to model.pt2
        modulewise export d0768ac3 --state-dict network.pt
    """
    if to is None and state_dict is None:
        raise InvalidInput("export: give --to FILE.pt2, --state-dict FILE.pt, or both")
    import torch

    from modulewise.engine import deployed

    net = deployed.load(run, runs, data)
    for file in filter(None, (state_dict, to)):
        place(file)
    shape, scores = ", ".join(map(str, net.image)), net.outputs
    if state_dict:
        write_atomic(state_dict, partial(torch.save, deployed.network_state(net)))
        call = f"modulewise.models.build({net.result.cell.network!r}, ({shape}), {scores})"
        mean, std = (_listed(values) for values in (net.mean, net.std))
        print(f"{state_dict}: {call}, given (image - mean) / std; mean {mean}, std {std}")
    if to:
        write_atomic(to, partial(torch.export.save, deployed.program(net)))
        print(f"{to}: float32 images (B, {shape}) in [0, 1] -> scores (B, {scores})")


def _listed(values: Any) -> list[float]:
    """Values of a tensor, to six digits."""
    return [float(f"{v:.6g}") for v in values.flatten().tolist()]

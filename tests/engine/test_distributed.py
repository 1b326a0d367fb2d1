"""Two processes on a device each are one on the whole batch: weights, losses, and a run that is
stopped and resumed."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

import forked
from cases import Case, Row, data_of, same
from modulewise.data.resident import Resident
from modulewise.engine import distributed, flops, ranks
from modulewise.engine.build import build
from modulewise.engine.evaluate import evaluate
from modulewise.engine.trainer import Interrupted, Stop, Trainer
from modulewise.method import Batch
from modulewise.optim import ModuleOptimizers
from modulewise.parts.history import History
from modulewise.runs import record
from modulewise.schedules import build as build_schedule

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]
PATIENCE = 500
"""Seconds for two ranks to do all that they do here, which takes them five on two free cores."""
BATCH = 12
"""Of 42 images: three whole batches, and one of six."""
CASES = {
    "backprop": Case("backprop", modules=1),
    "dgl": Case("dgl", {"head": "mlp-sr"}),
    "infopro": Case("infopro", {"mode": "softmax", "feature_dim": 8}),
    "contsup": Case("contsup", {"context": "R1E", "mode": "softmax", "feature_dim": 8}),
    "dfa": Case("dfa"),
    "ddg": Case("ddg"),
    "accumulate": Case("dgl", {"head": "mlp-sr"}),
    "synchronised": Case("contsup", {"context": "R1E", "mode": "softmax", "feature_dim": 8}),
}


def trained(name: str, devices: int) -> dict[str, Any]:
    """State and losses of an epoch in float64, BatchNorm in eval mode or synchronised; the modules
    in their order of stepping, and whether gradients were then, and weights afterwards, the same on
    all ranks."""
    more = {"accumulate": {"accumulate": 2}, "synchronised": {"sync_batchnorm": True}}.get(name, {})
    network = "resnet8" if name == "synchronised" else "mlp3x16-relu"
    cell = Row(CASES[name], network).cell(batch_size=BATCH, devices=devices, **more)
    data = distributed.share(data_of(cell), cell.training)
    method, _ = build(cell, data.image, data.task)
    method.double().train()
    for part in method.modules():
        if isinstance(part, _BatchNorm) and name != "synchronised":
            part.eval()
    schedule = build_schedule(cell.training, cell.modules, data.steps, cell.seed)
    optimizers = ModuleOptimizers(method, cell.training, average=distributed.averager())
    alike, moved, inner = True, list[int](), optimizers.step

    def step(k: int | None = None) -> None:
        nonlocal alike
        grads = [p.grad for p in optimizers.inner[k or 0].param_groups[0]["params"]]
        told = distributed.everyone(grads)
        alike &= all(torch.equal(a, b) for a, b in zip(told[0], told[-1], strict=True))
        moved.append(k or 0)
        inner(k)

    optimizers.step = step  # type: ignore[method-assign]
    losses: list[dict[str, Tensor]] = []
    after = True
    for batch in data.batches(1):
        double = replace(batch, x=batch.x.double(), image=batch.image.double())
        losses.append(
            schedule.step(method, double, optimizers, lambda: torch.autograd.enable_grad())
        )
        told = distributed.everyone(distributed.on_cpu(dict(method.named_parameters())))
        after &= all(torch.equal(told[0][n], told[-1][n]) for n in told[0])
    own = [f"{n}." for n, part in method.named_modules() if isinstance(part, History)]
    state = {n: t for n, t in method.state_dict().items() if not n.startswith(tuple(own))}
    means = [
        {n: sum(t[n] for t in told) / len(told) for n in told[0]}
        for told in zip(*distributed.everyone(losses), strict=True)
    ]
    return {"weights": state, "losses": means, "alike": alike, "after": after, "moved": moved}


def laws(folder: Path) -> None:
    torch.save({name: trained(name, 2) for name in CASES}, folder / f"laws-{distributed.rank()}.pt")


DROPOUT = Row(Case("dgl", {"feature_dim": 8}), "vgg8b-w2-d30")


def trainer(folder: Path, stop: Stop | None = None, **more: Any) -> Trainer:
    """Of three epochs on two devices, with dropout, BatchNorm and random streams."""
    cell = DROPOUT.cell(epochs=3, batch_size=BATCH, devices=2, **more)
    if distributed.rank():
        aside = folder.with_name(folder.name + "-aside")
        if not aside.exists():
            aside.mkdir()
            (aside / "checkpoint.pt").symlink_to(folder / "checkpoint.pt")
        folder = aside
    return Trainer(cell, data_of(cell), folder, CPU, 1e9, stop)


def stopped_and_whole(folder: Path) -> None:
    """A run that is left alone; and one of which rank 1 is asked to stop in its sixth step. Both
    evaluate on three images at once."""
    Resident.eval_batches.__defaults__ = (3,)
    flops.by_phase = lambda *given: [flops.Flops(1.0, 0.0, 1.0)] * len(given[-1])
    whole = trainer(folder / "whole")
    whole.fit()
    stop = Stop()
    first = trainer(folder / "stopped", stop)
    count, inner = 0, first.step

    def step(batch: Batch) -> dict[str, Tensor]:
        nonlocal count
        count += 1
        stop.asked = distributed.rank() == 1 and count == 6
        return inner(batch)

    first.step = step  # type: ignore[method-assign]
    with pytest.raises(Interrupted):
        first.fit()
    distributed.agree(True)
    saved = torch.load(folder / "stopped" / "checkpoint.pt", weights_only=True)["ranks"]
    streams = {"streams": [own["rng"] for own in saved]}
    again = trainer(folder / "stopped")
    again.fit()
    states = {"whole": whole.method.state_dict(), "stopped": again.method.state_dict()}
    torch.save(states | streams | {"steps": count}, folder / f"runs-{distributed.rank()}.pt")


def variables(n: int, store: torch.distributed.TCPStore) -> dict[str, str]:
    """What `torchrun` tells the n-th of two processes."""
    numbers = {"RANK": n, "LOCAL_RANK": n, "WORLD_SIZE": 2, "MASTER_PORT": store.port}
    named = {"MASTER_ADDR": ranks.HOST, "TORCHELASTIC_USE_AGENT_STORE": "True"}
    return {k: str(v) for k, v in numbers.items()} | named | {"GLOO_SOCKET_IFNAME": "lo"}


def member(env: dict[str, str], folder: str, acts: list[Callable[[Path], None]]) -> None:
    torch.set_num_threads(1)
    os.environ |= env
    try:
        with distributed.joined(CPU):
            for act in acts:
                act(Path(folder))
    except BaseException:
        (Path(folder) / f"failed-{env['RANK']}").write_text(traceback.format_exc())
        raise


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what two ranks have done."""
    folder = tmp_path_factory.mktemp("ranks")
    store = torch.distributed.TCPStore(ranks.HOST, 0, is_master=True, wait_for_workers=False)
    acts = [laws, stopped_and_whole]
    started = [
        forked._CONTEXT.Process(target=member, args=(variables(n, store), str(folder), acts))
        for n in range(2)
    ]
    for process in started:
        process.start()
    end = time.monotonic() + PATIENCE
    for process in started:
        process.join(max(0, end - time.monotonic()))
        process.kill()
        process.join()
    said = "\n".join(p.read_text() for p in folder.glob("failed-*"))
    assert [p.exitcode for p in started] == [0, 0], said
    return folder


@pytest.mark.parametrize("name", CASES)
def test_two_ranks_of_half_the_batch_are_one_of_the_whole(name: str, pair: Path) -> None:
    one = trained(name, 1)
    for n in range(2):
        two = torch.load(pair / f"laws-{n}.pt")[name]
        assert two["weights"].keys() == one["weights"].keys()
        for weight, value in one["weights"].items():
            torch.testing.assert_close(two["weights"][weight], value, rtol=0, atol=1e-6)
        for mine, theirs in zip(two["losses"], one["losses"], strict=True):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6)
        assert two["after"], "the ranks' parameters differ"
        assert two["alike"], "a module has stepped before its gradients were averaged"
        modules = list(range(CASES[name].modules))
        assert two["moved"] == modules * len(one["losses"])


def metrics(folder: Path) -> dict[tuple[str, int], float]:
    """Losses and errors of a run's record."""
    found = record.read(folder).metrics.items()
    return {k: v for k, (v, _) in found if "loss" in k[0] or "error" in k[0]}


def test_a_run_that_is_stopped_on_one_rank_goes_on_exactly(pair: Path) -> None:
    for n in range(2):
        runs = torch.load(pair / f"runs-{n}.pt")
        assert runs["steps"] == 6
        assert same(runs["whole"], runs["stopped"])
    assert metrics(pair / "whole") == metrics(pair / "stopped")
    assert {epoch for _, epoch in metrics(pair / "whole")} == {1, 2, 3}


def test_ranks_draw_from_streams_of_their_own(pair: Path) -> None:
    assert not torch.equal(*torch.load(pair / "runs-0.pt")["streams"])


def test_the_ranks_errors_are_those_of_one_on_all_test_images(pair: Path) -> None:
    first, second = (torch.load(pair / f"runs-{n}.pt")["whole"] for n in range(2))
    assert same(first, second), "the ranks evaluate with one another's statistics"
    assert metrics(pair / "whole") == metrics(pair / "whole-aside")
    cell = DROPOUT.cell()
    data = data_of(cell)
    method, _ = build(cell, data.image, data.task)
    method.load_state_dict(first)
    found = evaluate(method, data, "test", torch.enable_grad)
    said = record.read(pair / "whole").metrics
    names = ["module_0", "module_1", "overall"]
    assert found == [said[f"test_error/{name}", 3][0] for name in names]


def test_processes_that_torchrun_started_make_one_result(tmp_path: Path) -> None:
    store = torch.distributed.TCPStore(ranks.HOST, 0, is_master=True, wait_for_workers=False)
    settings = {"devices": 2, "batch_size": 512, "warmup_epochs": 0}
    words = ["--dataset", "digits", "--network", "mlp1x8", "--recipe", "backprop", "--epochs", "1"]
    words += [w for k, v in settings.items() for w in ("--set", f"training.{k}={v}")]
    words += ["--config", str(ROOT / "config"), "--results", str(tmp_path / "results")]
    words += ["--device", "cpu", "--threads", "1"]
    (tmp_path / "tmp").mkdir()
    started = [
        forked.Program("train", *words, env=variables(n, store) | {"TMPDIR": str(tmp_path / "tmp")})
        for n in range(2)
    ]
    assert [program.wait() for program in started] == [0, 0], [p.said() for p in started]
    (out, _), silent = (program.said() for program in started)
    assert silent == ("", "")
    (folder,) = (tmp_path / "results" / "runs").glob("**/result.json")
    assert out.strip() == str(folder)
    made = json.loads(folder.read_text())
    assert (made["cell"]["training"]["devices"], made["status"]) == (2, "done")
    assert len(list((tmp_path / "results" / "runs").glob("**/record.jsonl"))) == 1
    assert not list((tmp_path / "tmp").glob("**/cell.json"))


SAVED = 75
WAITS = "import os, signal, sys, time; r = os.environ['RANK']; "


def started(code: str) -> ranks.Ranks:
    return ranks.Ranks([sys.executable, "-S", "-c", WAITS + code], 2)


def test_a_rank_that_dies_ends_all_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "LEAVE", 0.2)
    with started("r == '1' and os.kill(os.getpid(), 9); time.sleep(60)") as two:
        status, said = two.wait(SAVED)
    assert status == 1
    assert said == "rank 1 of 2 died of SIGKILL, and the others were ended"
    assert [p.returncode for p in two.processes] == [-signal.SIGKILL] * 2


def test_what_a_rank_that_failed_said_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    code = f"print('no room', file=sys.stderr); sys.exit(3 if r == '1' else {distributed.LOST})"
    with started(code) as two:
        assert two.wait(SAVED) == (3, "")
    assert capsys.readouterr().err == "no room\n"


def test_ranks_that_are_asked_to_stop_save_and_leave() -> None:
    code = f"signal.signal(15, lambda *_: sys.exit({SAVED})); print(0, flush=True); time.sleep(60)"
    with started(code) as two:
        for process in two.processes:  # until each has its handler
            status = Path(f"/proc/{process.pid}/status")
            while "SigCgt:\t0000000000004" not in status.read_text():
                pass
        two.ask(signal.SIGTERM)
        assert two.wait(SAVED) == (SAVED, "")


def test_the_result_of_rank_0_counts() -> None:
    with started("sys.exit(int(r))") as two:
        assert two.wait(SAVED) == (0, "")

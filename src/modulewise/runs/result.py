"""What a finished run leaves behind: `result.json`, the only file the workflow and the report
trust."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from modulewise.config.cell import Cell
from modulewise.config.types import MetricName
from modulewise.files import write_atomic

FILE = "result.json"
Status = Literal["done", "diverged", "out_of_memory"]


class Frozen(BaseModel):
    """Frozen; keys that a later version added are ignored, so that paid results stay readable."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class PrimaryMetric(Frozen):
    """The number that runs of a task are compared by."""

    name: MetricName = "error"
    """Name in the run's records (`test_<name>/overall`) and in `references.csv` (`test_<name>`)."""
    label: str = "test error"
    """Name on pages and axes."""
    unit: str = "%"
    """Unit of the values; empty if they have none."""
    direction: Literal["lower", "higher"] = "lower"
    """Direction of better values."""

    def rank(self, value: float) -> float:
        """Sort key of a value: the best comes first."""
        return value if self.direction == "lower" else -value

    def text(self, value: float) -> str:
        """A value for people.

        Example:
            >>> PrimaryMetric().text(12.3)
            'error 12.30 %'
            >>> PrimaryMetric(name="perplexity", label="test perplexity", unit="").text(23.4567)
            'perplexity 23.4567'
        """
        return f"{self.label.removeprefix('test ')} {self.number(value)}"

    def number(self, value: float) -> str:
        """A value with its unit: two decimals, or four of a plain number."""
        return f"{value:.2f} {self.unit}" if self.unit else f"{value:.4f}"


class Cost(Frozen):
    """What the run cost; `None` where it could not be measured."""

    peak_memory_bytes: int | None = None
    """Largest sum of live tensor bytes the allocator saw during training steps (weights, optimiser
    state and data included)."""
    memory_source: Literal["cuda allocator", "cpu allocator"] | None = None
    step_seconds: float | None = None
    """Median over epochs of epoch time / steps."""
    epoch_seconds: float | None = None
    train_seconds: float | None = None
    """Time spent in training steps, over all starts of the run."""
    samples_per_second: float | None = None
    train_flops: float | None = None
    """Floating-point operations of all training steps, forward and backward, helpers included."""
    trunk_flops: float | None = None
    """Of the K isolated modules alone, forward and backward, per training image."""
    helper_flops: float | None = None
    """Of everything else, likewise: helpers, what is computed twice, and forward passes that only
    feed other modules."""
    parameters: int | None = None
    helper_parameters: int | None = None
    inference_parameters: int | None = None
    inference_macs: float | None = None
    """Multiply-accumulates of the deployed net for one input."""


class Origin(Frozen):
    """Where and with what the run was made."""

    device: str
    exclusive: bool
    host: str
    starts: int
    commit: str | None
    source: str
    """Hash of the package's source files; runs made with other sources are shown as stale."""
    versions: dict[str, str]
    data: str | None = None
    """Short hash of the images and labels that were used."""
    slurm_job: str | None = None


class Result(Frozen):
    """One run of one cell."""

    cell: Cell
    status: Status
    reason: str | None = None
    epochs: int
    """Epochs trained, of the number the budget resolved to (`planned_epochs`)."""
    planned_epochs: int
    metric: PrimaryMetric = PrimaryMetric()
    """Primary metric that the values below are of; results from before it was recorded are of test
    error in percent."""
    test_last: float | None = None
    """Value on the test set after the last epoch: the reported figure."""
    test_best_epoch: float | None = None
    """Best value on the test set over epochs: selection on test data, kept only to compare with
    papers that print it."""
    val_last: float | None = None
    """Value on the held-out training images after the last epoch; `None` if none are held out."""
    module_metrics: list[float | None] = Field(
        default=[], validation_alias=AliasChoices("module_metrics", "module_errors")
    )
    """Value on the test set of every module's own head after the last epoch; `None` where the head
    makes no prediction. Called `module_errors` in older files."""
    module_losses: dict[str, float] = {}
    """Mean training loss of the last epoch, by loss name."""
    cuts: list[int]
    """Cut points: number of stages before each cut."""
    horizon: int = 1
    """Through how many modules the gradient of a loss reached back, its own included; K is
    end-to-end training. Results from before it was recorded are of methods for which it was 1."""
    cost: Cost
    origin: Origin

    def save(self, folder: Path) -> Path:
        """Write `result.json` atomically; returns its path."""
        path = folder / FILE
        write_atomic(path, self.model_dump_json(indent=1) + "\n")
        return path


def exists(folder: Path) -> bool:
    """Whether a run's folder holds a result, readable or not: such a run is not trained again."""
    return (folder / FILE).exists()


def load(path: Path) -> Result:
    """Read one `result.json`.

    Raises:
        ValueError: the file is damaged or was written by an incompatible version.
    """
    return Result.model_validate_json(path.read_text())

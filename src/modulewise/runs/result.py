"""Result of a finished run: `result.json`, the only file that the workflow and the report take
results from."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field
from pydantic_core import from_json

from modulewise.config.cell import Cell
from modulewise.config.types import MetricName
from modulewise.files import write_atomic

FILE = "result.json"
"""Name of the file in a run's folder."""
Status = Literal["done", "diverged", "out_of_memory"]
"""Ways in which a run can end with a result."""


class Stored(BaseModel):
    """Immutable model that ignores unknown keys: results of later versions stay readable."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class PrimaryMetric(Stored):
    """A number that runs of a task are compared by: above all its primary one; the secondary ones
    have names, units and directions too."""

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


class Secondary(Stored):
    """A metric of the net on the test set beside the primary one."""

    metric: PrimaryMetric
    """What it is."""
    last: float
    """Value after the last epoch."""
    best: float
    """Best value over the epochs in which it was counted: selection on test data, kept only to
    compare with papers. A metric that is counted at the end alone has one value."""


class Asked(Stored):
    """What was asked for one run; a run that shares an allocation has its share of it."""

    cpus: float
    """Number of CPUs of its Slurm job; elsewhere of the training's threads."""
    memory_bytes: int | None = None
    """Memory of its Slurm job; `None` if nobody asked for a number."""
    gpus: float = 0.0
    """Number of GPUs."""
    seconds: float | None = None
    """Time limit of its Slurm job; `None` elsewhere."""


class Use(Stored):
    """What a run used, over all of its starts, from the moment that the data were loaded."""

    asked: Asked
    """What was asked for in the last start."""
    seconds: float
    """Wall time."""
    cpu_seconds: float
    """CPU time of its process and of those it began; in results of earlier versions of those it
    had ended."""
    peak_bytes: int
    """Most resident memory that its processes held; in results of earlier versions its own one."""
    gpu_percent: float | None = None
    """Share of the time in which the GPU was at work, for whomever; `None` where not told."""
    gpu_peak_bytes: int | None = None
    """Most memory that was occupied on the GPU, by whomever."""
    gpu_watts: float | None = None
    """Mean power that the GPU drew."""


class Cost(Stored):
    """Cost of a run; `None` where it could not be measured."""

    peak_memory_bytes: int | None = None
    """Largest sum of live tensor bytes in training steps: weights, optimiser state, the batch,
    activations and gradients; not the data set. Of several devices, of that with the most."""
    memory_source: Literal["live tensors", "cuda allocator", "cpu allocator"] | None = None
    """Source of `peak_memory_bytes`: `live tensors`; in results of earlier versions an allocator,
    whose figure holds operators' workspace and the data set too."""
    workspace_bytes: int | None = None
    """Bytes on top of `peak_memory_bytes` that single operators allocate and release again."""
    data_bytes: int | None = None
    """Bytes of the data set's images that lie on the training device."""
    step_seconds: float | None = None
    """Seconds a training step takes: the median over epochs of training time / steps."""
    epoch_seconds: float | None = None
    """Seconds of training an epoch takes, evaluation not included: the median over epochs."""
    train_seconds: float | None = None
    """Seconds spent in training steps, over all starts of the run."""
    module_seconds: list[float] | None = None
    """Seconds that a step of each module takes by itself, waiting not counted: the mean over steps,
    of schedule `joint` over some. `None` where modules do not step one by one."""
    samples_per_second: float | None = None
    """Number of training images a second."""
    train_flops: float | None = None
    """Floating-point operations of all training steps, forward and backward, helpers included."""
    trunk_flops: float | None = None
    """Floating-point operations of the K isolated modules alone, forward and backward, per training
    image."""
    helper_flops: float | None = None
    """Floating-point operations of everything else, likewise: helpers, what is computed twice, and
    forward passes that only feed other modules."""
    parameters: int | None = None
    """Number of trained parameters, helpers included."""
    helper_parameters: int | None = None
    """Number of trained parameters of helpers."""
    inference_parameters: int | None = None
    """Number of parameters of the deployed network."""
    inference_macs: float | None = None
    """Multiply-accumulates of the deployed network for one input."""
    use: Use | None = None
    """What the run used of its machine; `None` in results of earlier versions."""


class Needs(Stored):
    """What a training step needs, as the method declares it; the declarations are tested."""

    supervision: str
    """Part of the labels that moves the trunk: `class`, `pair` (same class or not), `none`."""
    feedback: str
    """What a module is given from beyond the horizon: `none`, `later` modules' tensors or weights,
    the output's error by `fixed` weights."""
    locked: str
    """What an update of a module's stages waits for within a step: its `input`, the net's `scores`,
    or what `later` modules compute."""
    passes: int
    """Number of forward passes a layer of the trunk makes of an image, at most."""
    views: int
    """Number of augmented views of an image."""
    alive: int
    """Number of modules whose activations are kept at one time, at most."""
    history: int
    """Number of earlier steps whose images gradients depend on."""
    joint_only: bool
    """Whether modules can only be trained all on every batch."""
    helpers: dict[str, int]
    """Number of trained parameters beside the trunk, over all modules, by name."""
    kept: dict[str, int]
    """Bytes beside the trunk that no gradient moves (fixed weights, moving averages, queues; not
    BatchNorm's statistics), over all modules, by name."""


class ReusedFrom(Stored):
    """Where reused modules come from."""

    cell: str
    """Id of the cell that trained them."""
    weights: str
    """Short hash of its file of weights."""
    source: str
    """Hash of the source files that decided its numbers, as in its own origin."""


class Origin(Stored):
    """Where and with what a run was made."""

    device: str
    """Name of the device: what makes numbers comparable (see `engine.device.describe`). A run that
    went on elsewhere has all its devices, in their order. In results of earlier versions a CPU's
    instruction set is missing."""
    exclusive: bool
    """Whether the run had its device, or its CPU core, to itself in every start."""
    host: str
    """Name of the host of the last start."""
    starts: int
    """Number of processes that began or resumed the run."""
    commit: str | None
    """Commit of the repository, with `+` if files were changed; `None` outside a repository."""
    source: str
    """Hash of the source files that decide the cell's numbers; if they were edited since, the
    report shows the run as stale."""
    versions: dict[str, str]
    """Versions of Python, this package and the libraries that decide the numbers, by name."""
    data: str | None = None
    """Short hash of the images and labels that were used."""
    train_images: int | None = None
    """Number of images trained on."""
    test_images: int | None = None
    """Number of images that the reported figure is of."""
    slurm_job: str | None = None
    """Slurm's number of the last start's job; `None` outside Slurm."""
    reused: ReusedFrom | None = None
    """Run that the first modules come from, if they were trained before."""


class Result(Stored):
    """One run of one cell."""

    cell: Cell
    """Definition of the run."""
    status: Status
    """Way in which the run ended."""
    reason: str | None = None
    """Reason of a status other than `done`."""
    epochs: int
    """Number of epochs trained."""
    planned_epochs: int
    """Number of epochs the budget resolved to."""
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
    secondary: list[Secondary] = []
    """Metrics of the task beside the primary one; none in results from before they were counted."""
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
    """Number of modules that the gradient of a loss reached back through, its own included; K is
    end-to-end training. Results from before it was recorded are of methods for which it was 1."""
    needs: Needs | None = None
    """What a step of its method needs; `None` in results of earlier versions."""
    cost: Cost
    """Cost of the run."""
    origin: Origin
    """Place and software that the run was made with."""

    def save(self, folder: Path) -> Path:
        """Write `result.json` atomically; returns its path."""
        path = folder / FILE
        write_atomic(path, self.model_dump_json(indent=1) + "\n")
        return path


def exists(folder: Path) -> bool:
    """Whether a run's folder holds a result, readable or not: such a run is not trained again."""
    return (folder / FILE).exists()


def load(path: Path, cell: Cell | None = None) -> Result:
    """Read one `result.json`.

    Args:
        path: the file.
        cell: the cell that it should be of; where the file holds just that, it is not made anew.

    Raises:
        ValueError: the file is damaged or was written by an incompatible version.
    """
    text = path.read_text()
    if cell:
        try:
            content = from_json(text)
            if content["cell"] == cell.model_dump(mode="json"):
                return Result.model_validate(content | {"cell": cell})
        except (ValueError, TypeError, LookupError):
            pass  # said below, as of every file
    return Result.model_validate_json(text)

"""What a primary metric is called in tables, on axes, in sentences and in files."""

from __future__ import annotations

import re
from collections.abc import Callable

import pandas as pd

from modulewise.runs.result import PrimaryMetric


def title(metric: PrimaryMetric) -> str:
    """The metric at the beginning of a sentence.

    Example:
        >>> title(PrimaryMetric()), title(PrimaryMetric(name="mIoU", label="mIoU"))
        ('Test error', 'mIoU')
    """
    first = metric.label.split(" ", 1)[0]
    return metric.label[:1].upper() + metric.label[1:] if first.islower() else metric.label


def with_unit(text: str, metric: PrimaryMetric, space: str = "\u00a0") -> str:
    """A column's or an axis's title with the unit of its values.

    Example:
        >>> with_unit("Ours", PrimaryMetric(), " ")
        'Ours, %'
    """
    return f"{text},{space}{metric.unit}" if metric.unit else text


def of_difference(text: str, metric: PrimaryMetric, level: int) -> str:
    """The title of a column of differences with their intervals.

    Example:
        >>> of_difference("Gap", PrimaryMetric(), 95)
        'Gap, points [95\\xa0%]'
    """
    unit = difference_unit(metric)
    return f"{text}{', ' if unit else ''}{unit} [{level}\u00a0%]"


def difference_unit(metric: PrimaryMetric) -> str:
    """Unit of a difference of two values: percentages differ by points."""
    return "points" if metric.unit == "%" else metric.unit


def better(metric: PrimaryMetric) -> str:
    """The metric of the better of two runs: `lower test error`, `higher mIoU`."""
    return f"{metric.direction} {metric.label}"


def worse_sign(metric: PrimaryMetric) -> str:
    """The side of zero on which a difference to the baseline is worse."""
    return "above" if metric.direction == "lower" else "below"


def without_test(metric: PrimaryMetric) -> str:
    """The metric on images that are not the test set's: `error` of `test error`."""
    return metric.label.removeprefix("test ")


def digits(metric: PrimaryMetric) -> int:
    """Number of decimals in tables: two of a percentage or a quantity, four of a plain number."""
    return 2 if metric.unit else 4


def valued(metric: PrimaryMetric, value: float) -> str:
    """The metric with a value of it.

    Example:
        >>> valued(PrimaryMetric(), 5.278)
        'test error 5.28\xa0%'
    """
    return f"{metric.label} {value:.{digits(metric)}f}\u00a0{metric.unit}".rstrip()


def named(
    rows: pd.DataFrame, metric: Callable[[str], PrimaryMetric], prefix: str = ""
) -> pd.DataFrame:
    """Rows with the columns of the primary metric under its name; where the data sets have several
    metrics, a column each, empty for the others.

    Args:
        rows: with a column `dataset`, and columns `value`, `value_...`.
        metric: of a data set.
        prefix: what stands before `value` in the columns' names.
    """
    if "dataset" not in rows:
        return rows
    mine = rows["dataset"].map(lambda dataset: metric(dataset).name)
    out: dict[str, pd.Series] = {}
    for column in map(str, rows.columns):
        if re.match(rf"{prefix}value(_|$)", column):
            for name in mine.unique():
                theirs = column.replace(f"{prefix}value", f"{prefix}{name}", 1)
                out[theirs] = rows[column].where(mine == name)
        else:
            out[column] = rows[column]
    return pd.DataFrame(out)

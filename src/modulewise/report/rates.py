"""How often what the page says is wrong where a level of 5 % does not hold, in percent, as printed
by `python docs/verdict_rates.py`; the page gives each beside the figure concerned."""

from __future__ import annotations

WRONG = {
    "two_seeds": 7.4,
    "two_seeds_reproduced": 5.5,
    "adding": 12.2,
    "adding_reproduced": 9.0,
    "probability_3": 15.8,
    "probability_5": 10.2,
    "skewed_3": 7.7,
    "skewed_5": 8.1,
}
"""Better or worse and reproduced by two seeds against five published runs; the same where a seed is
added, from three to ten, until a verdict comes; the interval of the probability of less error
excludes one half, with three and five seeds; the interval of a gap of three and five seeds, where
errors are skewed, misses it."""

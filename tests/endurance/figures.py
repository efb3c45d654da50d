"""Figures of many values, for people."""

import statistics


def quantile(values, part):
    """The value below which this part of the values is; NaN where there are none."""
    ordered = sorted(values)
    return ordered[min(int(part * len(ordered)), len(ordered) - 1)] if ordered else float("nan")


def spread(values):
    """Median, 99th percentile and extremes of seconds, in milliseconds."""
    if not values:
        return "none"
    shown = [1e3 * x for x in [statistics.median(values), quantile(values, 0.99), min(values), max(values)]]
    return "median {:.1f}, p99 {:.1f}, from {:.1f} to {:.1f} ms".format(*shown)


def flat(values, before, most):
    """Whether the greatest of values is at most `most` times that of those before; and both, in words."""
    then, now = max(before), max(values)
    return now <= most * then, now, then

"""Figures in Prometheus' text format: the only module that knows the client library."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from penstock.flows.metrics.figures import Figures

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


def text(*figures: Figures) -> bytes:
    """All of them, in UTF-8."""
    return generate_latest(_Collected(figures))


class _Collected(Collector):
    def __init__(self, figures: tuple[Figures, ...]) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Family]:
        for each in self._figures:
            yield from _families(each)


def _families(figures: Figures) -> Iterator[Family]:
    for metric, values in figures.values.items():
        family: CounterMetricFamily | GaugeMetricFamily
        kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
        family = kind(metric.name, metric.help, labels=metric.labels)
        for labels, value in values.items():
            family.add_metric(labels, value)
        yield family
    for metric, histograms in figures.histograms.items():
        spread = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        bounds = [*(str(float(bound)) for bound in metric.buckets), "+Inf"]
        for labels, one in histograms.items():
            buckets = list(zip(bounds, map(float, accumulate(one.counts)), strict=True))
            spread.add_metric(labels, buckets, one.sum)
        yield spread

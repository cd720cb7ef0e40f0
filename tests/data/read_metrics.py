"""Reads a page of metrics from stdin with prometheus_client's own parsers and prints its samples as JSON."""

import json
import sys

if sys.argv[1] == "openmetrics":
    from prometheus_client.openmetrics.parser import text_string_to_metric_families
else:
    from prometheus_client.parser import text_string_to_metric_families

samples = []
for family in text_string_to_metric_families(sys.stdin.read()):
    assert family.documentation, family.name
    assert family.type != "unknown", family.name
    samples += [[sample.name, sample.labels, str(float(sample.value))] for sample in family.samples]
json.dump(samples, sys.stdout)

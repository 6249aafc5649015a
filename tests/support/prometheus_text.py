"""A strict parser of Prometheus' text exposition format 0.0.4, written from its specification.

https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

import re

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"'
_SAMPLE = re.compile(rf"^({_NAME})(?:\{{({_LABEL}(?:,{_LABEL})*)\}})? (\S+)$", re.ASCII)
_VALUE = re.compile(r"^[+-]?(\d+(\.\d*)?([eE][+-]?\d+)?|Inf)$|^NaN$", re.ASCII)

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def read_metrics(text: str) -> Samples:
    """Return the value of each name and labels (sorted); fails at whatever the format does not allow."""
    assert text.endswith("\n")
    samples: Samples = {}
    kinds: dict[str, str] = {}
    helped: set[str] = set()
    current = ""
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            current, meaning = line[7:].split(" ", 1)
            assert current not in helped, f"a second HELP: {line}"
            assert "\\" not in meaning
            helped.add(current)
        elif line.startswith("# TYPE "):
            name, kind = line[7:].split(" ")
            assert name not in kinds, f"a second TYPE: {line}"
            assert name == current, f"not in one group: {line}"
            assert kind in {"counter", "gauge", "histogram", "summary", "untyped"}
            assert (kind == "counter") == name.endswith("_total"), name
            kinds[name] = kind
        else:
            found = _SAMPLE.match(line)
            assert found is not None, f"not a sample: {line!r}"
            name, labels, value = found[1], found[2] or "", found[found.re.groups]
            assert name == current in kinds, f"not in the group of its TYPE: {line}"
            assert _VALUE.match(value), value
            key = (name, tuple(sorted((label, _unescaped(text)) for label, text in re.findall(_LABEL, labels))))
            assert key not in samples, f"twice: {line}"
            samples[key] = float(value)
    return samples


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda found: "\n" if found[1] == "n" else found[1], text)

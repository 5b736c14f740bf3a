"""Results as tables for people and as JSON for programs."""

import dataclasses


def number(value):
    """Three digits that count, and no more for whole numbers: 0.842, 13.3, 1240, 7."""
    if value == round(value) or abs(value) >= 100:
        return f"{value:.0f}"
    if abs(value) < 0.1:
        return f"{value:.2g}"
    return f"{value:.{2 if abs(value) < 10 else 1}f}"


def ratio(value):
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def spread(values, text=number):
    return f"{text(values.median)} ({text(values.least)}–{text(values.most)})"


def _bar_text(bar, unit):
    limit = "at most" if bar.at_most is not None else "at least"
    shown, unit = (ratio, "x") if bar.against else (number, unit)
    text = f"{limit} {shown(bar.limit)} {unit}".rstrip()
    return f"{text}, goal {shown(bar.goal)}" if bar.goal is not None else text


def _verdict_text(bar, value, verdict):
    if bar.goal is None or verdict != "met":
        return verdict
    return "met, goal too" if bar.reached_by(value, bar.goal) else "met, goal not"


def _bar_cells(measure):
    """Three cells a bar: the value it is about, the bar, the verdict."""
    for bar, value, verdict in measure.judge():
        shown = "" if value is None else (ratio if bar.against else number)(value)
        yield [shown, _bar_text(bar, measure.unit), _verdict_text(bar, value, verdict)]


def _rows(comparison):
    baseline, *others = comparison.variants
    # Ratios to the baseline, and those that a bar asks for.
    pairs = [(other, baseline) for other in others]
    for measure in comparison.measures:
        for bar in measure.bars:
            if bar.against and (bar.variant, bar.against) not in pairs:
                pairs.append((bar.variant, bar.against))
    yield ["", "", *comparison.variants, *(f"{a} / {b}" for a, b in pairs), "value", "bar", ""]
    for measure in comparison.measures:
        cells = [measure.title, measure.unit]
        for variant in comparison.variants:
            cells.append(spread(measure.spread(variant)) if variant in measure.rounds else "-")
        for variant, against in pairs:
            both = variant in measure.rounds and against in measure.rounds
            ratios = measure.ratio(variant, against) if both else None
            cells.append(spread(ratios, ratio) if ratios else "-")
        bars = list(_bar_cells(measure)) or [["", "", ""]]
        yield cells + bars[0]
        for bar in bars[1:]:  # further bars of the same measure: a line each
            yield [""] * len(cells) + bar


def table(comparison):
    """The comparison as lines of text: median (min–max) of the rounds."""
    rows = list(_rows(comparison))
    used = [column for column in range(len(rows[0])) if any(row[column] for row in rows[1:])]
    widths = {column: max(len(row[column]) for row in rows) for column in used}
    lines = [comparison.title]
    for row in rows:
        cells = (row[column].ljust(widths[column]) for column in used)
        lines.append(("  " + "   ".join(cells)).rstrip())
    return "\n".join(lines)


def machine_lines(machine):
    kind = "virtual CPUs" if machine["virtual"] else "CPUs"
    return [
        f"{machine['cpu']}, {machine['cores']} {kind}, {machine['memory_gib']} GiB",
        f"kernel {machine['kernel']}, cgroups {machine['cgroups']}, "
        f"containerd {machine['containerd']}, runc {machine['runc']}",
        f"shim {machine['shim']}, source {machine['source']}",
    ]


def bars(comparisons):
    """Every judged bar: (comparison, measure, bar, value, verdict)."""
    return [
        (comparison, measure, *judged)
        for comparison in comparisons
        for measure in comparison.measures
        for judged in measure.judge()
    ]


def bar_line(measure, bar, value):
    """"1.09, at most 1.00 x"."""
    shown = "-" if value is None else (ratio if bar.against else number)(value)
    return f"{shown}, {_bar_text(bar, measure.unit)}"


def _json_spread(values):
    return dataclasses.asdict(values) if values else None


def _json_measure(measure, comparison):
    baseline = comparison.variants[0]
    present = [variant for variant in comparison.variants if variant in measure.rounds]
    result = {
        "key": measure.key,
        "title": measure.title,
        "unit": measure.unit,
        "variants": {
            variant: {
                **_json_spread(measure.spread(variant)),
                "rounds": measure.rounds[variant],
                "samples": measure.samples[variant],
            }
            for variant in present
        },
        "bars": [
            {**dataclasses.asdict(bar), "value": value, "verdict": verdict}
            for bar, value, verdict in measure.judge()
        ],
    }
    if baseline in present:
        result["ratios"] = {
            variant: _json_spread(measure.ratio(variant, baseline))
            for variant in present
            if variant != baseline
        }
    return result


def as_json(comparison):
    return {
        "title": comparison.title,
        "baseline": comparison.variants[0],
        "measures": [_json_measure(measure, comparison) for measure in comparison.measures],
    }

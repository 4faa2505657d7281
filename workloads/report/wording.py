"""Figures as people read them. Units are decimal, as those of links are."""

_METRIC_NAMES = {"auc": "AUC", "bits_per_byte": "bits per byte", "brier": "Brier score"}


def metric_name(metric: str) -> str:
    """`bits_per_byte` -> `bits per byte`."""
    return _METRIC_NAMES.get(metric, metric.replace("_", " "))


def quality(metric: str, value: float) -> str:
    """A metric's value: accuracy as a percentage, anything else to three decimals."""
    return f"{value:.1%}" if metric.endswith("accuracy") else f"{value:.3f}"


def deviation(value: float | None) -> str:
    """How far something is off, with its sign: `+3.2%`; nothing where nothing was expected."""
    return "" if value is None else f"{value:+.1%}"


def size(count: float) -> str:
    """Bytes to three digits: `398 kB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{_three_digits(count)} {unit}"
        count /= 1000
    return f"{_three_digits(count)} TB"


def duration(seconds: float) -> str:
    """`41 ms`, `4.39 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds < 0.9995:
        return f"{_three_digits(seconds * 1000)} ms"
    if seconds < 59.95:
        return f"{_three_digits(seconds)} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def share(value: float) -> str:
    """A fraction as a percentage to two digits, however small: `0.0097%`."""
    percent = value * 100
    return f"{percent:,.0f}%" if percent >= 99.5 else f"{float(f'{percent:.2g}'):f}".rstrip("0").rstrip(".") + "%"


def speed(value: float) -> str:
    """A rate to three digits, with thousands: `12,300`."""
    return _three_digits(value) if value < 999.5 else f"{float(f'{value:.3g}'):,.0f}"


def ratio(value: float) -> str:
    """`39.1x` with the multiplication sign."""
    return f"{_three_digits(value)}\N{MULTIPLICATION SIGN}"


def _three_digits(value: float) -> str:
    if value >= 99.95 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"

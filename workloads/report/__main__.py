"""`python -m workloads.report SPEC.json`: one page about a run."""

import argparse
from pathlib import Path

from workloads.report.page import render
from workloads.report.plots import draw_plots
from workloads.report.reading import read_figures
from workloads.spec.errors import UserError, run_command
from workloads.spec.launch import ReportLaunch


def main() -> None:
    """Write the page of the spec named on the command line, whole or not at all."""
    parser = argparse.ArgumentParser(prog="python -m workloads.report", description="Write a page about a run.")
    parser.add_argument("spec", type=Path, help="a ReportLaunch as JSON")
    spec = ReportLaunch.load(parser.parse_args().spec)
    figures = read_figures(spec)
    page = render(figures, draw_plots(figures), spec.picture_svg)
    _write(spec.output, page)
    print(f"report of {spec.launch.run_id}: {spec.output}, {len(page.encode()):,} bytes", flush=True)  # noqa: T201


def _write(path: Path, page: str) -> None:
    scratch = path.with_suffix(f"{path.suffix}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_text(page, encoding="utf-8")
        scratch.replace(path)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise UserError(f"{path}: cannot be written, {error.strerror}; name another output or make room") from None


if __name__ == "__main__":
    run_command(main)

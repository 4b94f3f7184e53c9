# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""What a benchmark leaves: a table on the screen and as TSV, and a plot."""

import subprocess

from vm.host import BUILD
from vm.table import table

SCRIPT = """
set terminal pngcairo noenhanced size 900,540 font "DejaVu Sans,11"
set output "{png}"
set title "dma_map_benchmark {where}: time of an unmap (median, least and greatest)"
set xlabel "threads, on {cpus} CPUs"
set ylabel "µs"
set logscale x 2
set xrange [0.8:10]
set yrange [0:*]
set grid ytics
set key top left
set datafile separator "\\t"
set datafile missing NaN
plot {curves}
"""


def tabulate(name, rows, decimals):
    """Print the rows, the first of which has the names of the columns, and leave
    them as build/NAME.tsv. "decimals" is for each column, None where it has none."""
    def text(row):
        return [cell if places is None or isinstance(cell, str) else f"{cell:.{places}f}"
                for cell, places in zip(row, decimals)]
    print(table([text(row) for row in rows]))
    with (BUILD / f"{name}.tsv").open("w") as tsv:
        for row in rows:
            print(*row, sep="\t", file=tsv)


def plot(name, where, cpus):
    """Draw build/NAME.png of the TSV: way, threads, median, min, max, …"""
    tsv = BUILD / f"{name}.tsv"
    ways = list(dict.fromkeys(line.split("\t")[0] for line in tsv.read_text().splitlines()[1:]))
    curves = ", ".join(f"""'{tsv}' using (strcol(1) eq '{way}' ? $2 : NaN):3:4:5 """
                       f"""with yerrorlines linewidth 2 pointtype 7 title '{way}'"""
                       for way in ways)
    subprocess.run(["gnuplot"], text=True, check=True,
                   input=SCRIPT.format(png=BUILD / f"{name}.png", curves=curves, where=where, cpus=cpus))

# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""The benchmark's picture, drawn by gnuplot."""

import subprocess

SCRIPT = """
set terminal pngcairo size 900,540 font "DejaVu Sans,11"
set output "{png}"
set title "dma_map_benchmark: time of an unmap (median, least and greatest)"
set xlabel "threads, on 8 CPUs"
set ylabel "µs"
set logscale x 2
set xrange [0.8:10]
set yrange [0:*]
set grid ytics
set key top left
ways = "{ways}"
plot for [way in ways] "< grep '^".way."' {tsv}" using 2:3:4:5 with yerrorlines \\
    linewidth 2 pointtype 7 title way
"""


def plot(tsv, png):
    ways = list(dict.fromkeys(line.split("\t")[0] for line in tsv.read_text().splitlines()[1:]))
    script = SCRIPT.format(png=png, tsv=tsv, ways=" ".join(f"'{way}'" for way in ways))
    subprocess.run(["gnuplot"], input=script, text=True, check=True)

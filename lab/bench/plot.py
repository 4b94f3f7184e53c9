# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""The benchmark's picture, drawn by gnuplot."""

import subprocess

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
set datafile separator "\t"
set datafile missing NaN
plot {curves}
"""


def plot(tsv, png, where, cpus):
    ways = list(dict.fromkeys(line.split("\t")[0] for line in tsv.read_text().splitlines()[1:]))
    curves = ", ".join(f"""'{tsv}' using (strcol(1) eq '{way}' ? $2 : NaN):3:4:5 """
                       f"""with yerrorlines linewidth 2 pointtype 7 title '{way}'"""
                       for way in ways)
    subprocess.run(["gnuplot"], input=SCRIPT.format(png=png, curves=curves, where=where, cpus=cpus), text=True,
                   check=True)

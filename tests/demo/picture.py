# SPDX-License-Identifier: BSD-2-Clause
"""picture: throughput over time as SVG, written by hand: no library, readable on white and on black.

A Panel has one or more runs after each other on one time axis. In each, the bytes that the lines
delivered are stacked areas (with frame headers), and what curl received is a line (without).
"""
from dataclasses import dataclass, field
from html import escape

WIDTH, LEFT, RIGHT = 860, 58, 16
PANEL, TITLE, FOOT, GAP = 210, 44, 40, 26
SMOOTH = 3  # samples that are averaged: 0.3 s

STYLE = """
text { font-family: system-ui, "DejaVu Sans", sans-serif; font-size: 13px; fill: #24292f }
.paper { fill: #ffffff }
.title { font-size: 15px; font-weight: 600 }
.quiet { fill: #57606a; font-size: 12px }
.grid { stroke: #d0d7de; stroke-width: 1 }
.line1 { fill: #4c9be8 }
.line2 { fill: #f0a53a }
.client { fill: none; stroke: #24292f; stroke-width: 1.8; stroke-linejoin: round }
.mark { stroke: #cf222e; stroke-width: 1.6; stroke-dasharray: 5 4 }
.marktext { fill: #cf222e; font-weight: 600 }
.sum { stroke: #57606a; stroke-width: 1.2; stroke-dasharray: 2 3 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .paper { fill: #0d1117 }
  .quiet { fill: #9198a1 }
  .grid { stroke: #30363d }
  .line1 { fill: #2f6fb3 }
  .line2 { fill: #b9761a }
  .client { stroke: #e6edf3 }
  .mark { stroke: #ff7b72 }
  .marktext { fill: #ff7b72 }
  .sum { stroke: #9198a1 }
}
"""


@dataclass
class Run:
    label: str
    samples: list
    marks: list = field(default_factory=list)  # (seconds, text)


@dataclass
class Panel:
    title: str
    runs: list
    sum_mbit: float  # of the lines as ordered


def rates(samples, value):
    """[(t, Mbit/s)] of a running total, averaged over SMOOTH samples."""
    out = []
    for i in range(1, len(samples)):
        a, b = samples[max(0, i - SMOOTH)], samples[i]
        out.append((b.at, 8e-6 * (value(b) - value(a)) / (b.at - a.at)))
    return out


def nice_step(top, steps):
    for step in (0.5, 1, 2, 5, 10, 20, 50, 100):
        if top / step <= steps:
            return step
    return 200


class _Frame:
    """Where a panel's seconds and Mbit/s lie on the paper."""

    def __init__(self, panel, y):
        self.y0 = y + TITLE
        self.pause = 0.6
        self.length = sum(r.samples[-1].at + self.pause for r in panel.runs) - self.pause
        curves = [rates(r.samples, value) for r in panel.runs for value in (lambda s: sum(s.lines), lambda s: s.got)]
        self.top = max([panel.sum_mbit] + [mbit for curve in curves for _, mbit in curve]) * 1.12

    def x(self, t):
        return LEFT + t / self.length * (WIDTH - LEFT - RIGHT)

    def y(self, mbit):
        return self.y0 + PANEL - max(mbit, 0) / self.top * PANEL


def _points(frame, offset, series):
    return " ".join(f"{frame.x(offset + t):.1f},{frame.y(v):.1f}" for t, v in series)


def _area(frame, offset, low, high, name):
    if not high:
        return ""
    edge = _points(frame, offset, high) + " " + _points(frame, offset, list(reversed(low)))
    return f'<polygon class="{name}" points="{edge}"/>\n'


def _grid(frame, panel):
    out = ""
    step = nice_step(frame.top, 6)
    for i in range(int(frame.top / step) + 1):
        y = frame.y(i * step)
        out += f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>\n'
        out += f'<text class="quiet" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{i * step:g}</text>\n'
    y = frame.y(panel.sum_mbit)
    out += f'<line class="sum" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>\n'
    return out


def _ticks(frame, offset, length):
    step, out = nice_step(frame.length, 24), ""
    for i in range(int(length / step) + 1):
        out += f'<text class="quiet" x="{frame.x(offset + i * step):.1f}" y="{frame.y0 + PANEL + 16}" ' \
               f'text-anchor="middle">{i * step:g}{" s" if i == 0 else ""}</text>\n'
    return out


def _run(frame, run, offset):
    zero = [(t, 0) for t, _ in rates(run.samples, lambda s: 0)]
    one = rates(run.samples, lambda s: s.lines[0])
    both = rates(run.samples, lambda s: s.lines[0] + s.lines[1])
    out = _area(frame, offset, zero, one, "line1") + _area(frame, offset, one, both, "line2")
    out += f'<polyline class="client" points="{_points(frame, offset, rates(run.samples, lambda s: s.got))}"/>\n'
    length = run.samples[-1].at
    for at, text in run.marks:
        x = frame.x(offset + at)
        out += f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{frame.y0 - 4}" y2="{frame.y0 + PANEL}"/>\n'
        out += f'<text class="marktext" x="{x + 6:.1f}" y="{frame.y0 + 8}">{escape(text)}</text>\n'
    out += _ticks(frame, offset, length)
    out += f'<text x="{frame.x(offset + length / 2):.1f}" y="{frame.y0 + PANEL + 34}" ' \
           f'text-anchor="middle">{escape(run.label)}</text>\n'
    return out


def _panel(panel, y):
    frame, offset = _Frame(panel, y), 0
    out = f'<text class="title" x="{LEFT}" y="{y + 16}">{escape(panel.title)}</text>\n'
    out += f'<text class="quiet" x="{LEFT}" y="{y + 34}">Mbit/s; dotted: the lines as ordered, ' \
           f'{panel.sum_mbit:.4g} together</text>\n'
    out += _grid(frame, panel)
    for run in panel.runs:
        out += _run(frame, run, offset)
        offset += run.samples[-1].at + frame.pause
    return out


def _legend(y):
    entries = [("line1", "line 1 delivered"), ("line2", "line 2 delivered (stacked)"), ("client", "curl received")]
    out, x = "", LEFT
    for name, text in entries:
        if name == "client":
            out += f'<line class="client" x1="{x}" x2="{x + 16}" y1="{y - 4}" y2="{y - 4}"/>\n'
        else:
            out += f'<rect class="{name}" x="{x}" y="{y - 11}" width="16" height="13"/>\n'
        out += f'<text x="{x + 23}" y="{y}">{text}</text>\n'
        x += 50 + 7.4 * len(text)
    return out


def draw(panels):
    """The whole picture as text."""
    height = 34 + len(panels) * (TITLE + PANEL + FOOT + GAP)
    out = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" ' \
          f'height="{height}" role="img" aria-label="Throughput over time">\n<style>{STYLE}</style>\n' \
          f'<rect class="paper" width="{WIDTH}" height="{height}"/>\n'
    out += _legend(24)
    for i, panel in enumerate(panels):
        out += _panel(panel, 46 + i * (TITLE + PANEL + FOOT + GAP))
    return out + "</svg>\n"

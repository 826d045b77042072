# SPDX-License-Identifier: BSD-2-Clause
"""callpicture: what became of each packet of several calls, as SVG: a row a call, 100 ms a column."""
from dataclasses import dataclass, field
from html import escape

from picture import STYLE, WIDTH

LEFT, RIGHT, TOP = 58, 58, 58
ROW, TITLE, FOOT = 96, 34, 34
BIN = 0.1
TOP_MS = 150

MORE_STYLE = """
.lost { fill: #cf222e }
.trouble1 { fill: #4c9be8; fill-opacity: .22 }
.trouble2 { fill: #f0a53a; fill-opacity: .26 }
.trouble { font-size: 12px; paint-order: stroke; stroke: #ffffff; stroke-width: 4px; stroke-linejoin: round }
@media (prefers-color-scheme: dark) {
  .lost { fill: #ff7b72 }
  .trouble { stroke: #0d1117 }
}
"""


@dataclass
class Trouble:
    """Something was wrong with a line from `start` to `end`, seconds of the call."""
    start: float
    end: float
    line: int
    text: str


@dataclass
class Row:
    title: str
    verdict: str
    call: object
    bins: list = field(default_factory=list)  # (share lost, slowest ms or None)

    def __post_init__(self):
        start = min(leg.left[0] for leg in self.call.legs)
        columns = {}
        for leg in self.call.legs:
            for left, delay in zip(leg.left, leg.delays()):
                columns.setdefault(int((left - start) / (BIN * 1e9)), []).append(delay)
        for i in range(max(columns) + 1):
            delays = columns.get(i, [])
            came = [d for d in delays if d is not None]
            self.bins.append((1 - len(came) / len(delays) if delays else 0, max(came, default=None)))


class _Paper:
    def __init__(self, row, y):
        self.y0, self.n = y + TITLE, len(row.bins)

    def x(self, i):
        return LEFT + i / self.n * (WIDTH - LEFT - RIGHT)

    def y(self, ms):
        return self.y0 + ROW - min(ms, TOP_MS) / TOP_MS * ROW


def _troubles(paper, troubles):
    out = ""
    for t in troubles:
        x, width = paper.x(t.start / BIN), paper.x(t.end / BIN) - paper.x(t.start / BIN)
        out += f'<rect class="trouble{t.line}" x="{x:.1f}" y="{paper.y0}" width="{width:.1f}" height="{ROW}"/>\n'
    return out


def _labels(paper, troubles):
    return "".join(f'<text class="trouble" x="{paper.x(t.start / BIN) + 5:.1f}" y="{paper.y0 + 15}">{escape(t.text)}</text>\n'
                   for t in troubles)


def _grid(paper):
    out = ""
    for ms in range(0, TOP_MS + 1, 50):
        y = paper.y(ms)
        out += f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>\n'
        out += f'<text class="quiet" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{ms}{" ms" if ms == TOP_MS else ""}</text>\n'
        share = f"{100 * ms // TOP_MS}{' %' if ms == TOP_MS else ''}"
        out += f'<text class="quiet" x="{WIDTH - RIGHT + 8}" y="{y + 4:.1f}">{share}</text>\n'
    for second in range(0, int(paper.n * BIN) + 1, 2):
        out += f'<text class="quiet" x="{paper.x(second / BIN):.1f}" y="{paper.y0 + ROW + 16}" text-anchor="middle">' \
               f'{second}{" s" if second == 0 else ""}</text>\n'
    return out


def _lost(paper, bins):
    width, out = paper.x(1) - paper.x(0), ""
    for i, (lost, _) in enumerate(bins):
        if lost:
            out += f'<rect class="lost" x="{paper.x(i):.2f}" y="{paper.y0 + ROW * (1 - lost):.1f}" width="{width + 0.3:.2f}" ' \
                   f'height="{ROW * lost:.1f}"/>\n'
    return out


def _delay(paper, bins):
    """Broken where nothing came."""
    out, run = "", []
    for i, (_, slowest) in enumerate(bins + [(0, None)]):
        if slowest is not None:
            run.append(f"{paper.x(i):.1f},{paper.y(slowest):.1f} {paper.x(i + 1):.1f},{paper.y(slowest):.1f}")
        elif run:
            out, run = out + f'<polyline class="client" points="{" ".join(run)}"/>\n', []
    return out


def _row(row, y, troubles):
    paper = _Paper(row, y)
    out = f'<text class="title" x="{LEFT}" y="{y + 22}">{escape(row.title)}</text>\n'
    out += f'<text x="{WIDTH - RIGHT}" y="{y + 22}" text-anchor="end">{escape(row.verdict)}</text>\n'
    return out + _troubles(paper, troubles) + _grid(paper) + _lost(paper, row.bins) + _delay(paper, row.bins) + _labels(paper, troubles)


def draw(title, rows, troubles):
    """The whole picture as text."""
    height = TOP + len(rows) * (TITLE + ROW + FOOT)
    out = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" ' \
          f'height="{height}" role="img" aria-label="{escape(title)}">\n<style>{STYLE}{MORE_STYLE}</style>\n' \
          f'<rect class="paper" width="{WIDTH}" height="{height}"/>\n' \
          f'<text class="title" x="{LEFT}" y="24">{escape(title)}</text>\n' \
          f'<rect class="lost" x="{LEFT}" y="37" width="16" height="13"/><text x="{LEFT + 23}" y="48">lost, of 100 ms</text>\n' \
          f'<line class="client" x1="{LEFT + 160}" x2="{LEFT + 176}" y1="44" y2="44"/>' \
          f'<text x="{LEFT + 183}" y="48">the slowest packet of 100 ms, one way</text>\n'
    for i, row in enumerate(rows):
        out += _row(row, TOP + i * (TITLE + ROW + FOOT), troubles)
    return out + "</svg>\n"

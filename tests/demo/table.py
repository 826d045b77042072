# SPDX-License-Identifier: BSD-2-Clause
"""table: aligned columns for people."""


def number(value, digits=2):
    return "failed" if value is None else f"{value:.{digits}f}"


def render(head, rows):
    """The first column is text, the others are numbers (right-aligned). A row None is a rule."""
    cells = [head] + [r for r in rows if r]
    widths = [max(len(r[i]) for r in cells) for i in range(len(head))]

    def line(row):
        return "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))).rstrip()
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    return "\n".join([line(head), rule] + [line(r) if r else rule for r in rows])

"""
A drawing of boxes, arrows and texts, as SVG.

Rule 1: a drawing has a ground of its own, light or dark as the reader's system is, so that it can
        be read on any page.
Rule 2: it needs no font, script or file of others, and the same drawing has the same bytes.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Final, Literal

import attrs

_STYLE: Final = """
svg { font: 13px system-ui, sans-serif; --ground: #ffffff; --ink: #1f2328; --soft: #59636e;
  --line: #818b98; --box: #f3f5f7; --good: #1a7f37; --good-box: #dafbe1; --bad: #c0232c;
  --bad-box: #ffebe9; --mark: #0a5ec2; --mark-box: #ddf0ff; }
@media (prefers-color-scheme: dark) { svg { --ground: #16191d; --ink: #e6edf3; --soft: #a1abb6;
  --line: #6e7681; --box: #22272e; --good: #57ab5a; --good-box: #1b3223; --bad: #ff7b72;
  --bad-box: #3c1d1e; --mark: #6cb6ff; --mark-box: #182b42; } }
.ground { fill: var(--ground); }
text { fill: var(--ink); }
.soft { fill: var(--soft); } .good { fill: var(--good); } .bad { fill: var(--bad); }
.mark { fill: var(--mark); } .strong { font-weight: 600; }
rect.box { fill: var(--box); stroke: var(--line); }
rect.good { fill: var(--good-box); stroke: var(--good); }
rect.bad { fill: var(--bad-box); stroke: var(--bad); }
rect.mark { fill: var(--mark-box); stroke: var(--mark); }
rect.group { fill: none; stroke: var(--line); stroke-dasharray: 4 3; }
path { fill: none; stroke: var(--line); stroke-width: 1.4; }
path.bad { stroke: var(--bad); } path.good { stroke: var(--good); }
path.mark { stroke: var(--mark); } path.dashed { stroke-dasharray: 3 4; }
marker path { fill: var(--line); stroke: none; }
"""

Look = Literal["box", "good", "bad", "mark", "group"]
Ink = Literal["", "soft", "good", "bad", "mark", "strong"]
Point = tuple[float, float]


@attrs.frozen
class Box:
    """A rectangle; `x` and `y` are its middle."""

    x: float
    y: float
    width: float
    height: float

    def edge_towards(self, x: float, y: float) -> Point:
        """Return where a line from the middle to a point leaves the rectangle."""
        across, down = x - self.x, y - self.y
        scale = max(abs(across) / (self.width / 2), abs(down) / (self.height / 2), 1e-9)
        return self.x + across / scale, self.y + down / scale


class Drawing:
    """
    A drawing.

    Arguments:
        title: what it shows, for those who don't see it.
        width: in pixels.
        height: in pixels.
    """

    def __init__(self, title: str, width: float, height: float) -> None:
        size = {"width": _shown(width), "height": _shown(height)}
        view = {"viewBox": f"0 0 {size['width']} {size['height']}", "role": "img"}
        self._root = ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", **view, **size})
        ET.SubElement(self._root, "title").text = title
        ET.SubElement(self._root, "style").text = _STYLE
        arrow = {"id": "to", "viewBox": "0 0 8 8", "refX": "7", "refY": "4"}
        arrow |= {"markerWidth": "8", "markerHeight": "8", "orient": "auto-start-reverse"}
        head = ET.SubElement(ET.SubElement(self._root, "defs"), "marker", arrow)
        ET.SubElement(head, "path", {"d": "M0 0 L8 4 L0 8 Z"})
        ET.SubElement(self._root, "rect", {"class": "ground", "rx": "8", **size})

    def text(
        self, x: float, y: float, text: str, ink: Ink = "", *, anchor: str = "middle"
    ) -> None:
        """Write a text; `y` is its base line."""
        place = {"x": _shown(x), "y": _shown(y), "text-anchor": anchor}
        kind = {"class": ink} if ink else {}
        ET.SubElement(self._root, "text", {**place, **kind}).text = text

    def rectangle(self, box: Box, look: Look = "box") -> None:
        """Draw a rectangle."""
        place = {
            "x": _shown(box.x - box.width / 2),
            "y": _shown(box.y - box.height / 2),
            "width": _shown(box.width),
            "height": _shown(box.height),
        }
        ET.SubElement(self._root, "rect", {"class": look, "rx": "6", **place})

    def box(self, box: Box, text: str, look: Look = "box") -> None:
        """Draw a rectangle with a text in its middle; a line break begins another line."""
        self.rectangle(box, look)
        lines = text.split("\n")
        for number, line in enumerate(lines):
            below = (number - (len(lines) - 1) / 2) * 17
            self.text(box.x, box.y + below + 4.5, line)

    def path(
        self, points: list[Point], ink: Ink = "", *, arrow: bool = True, dashed: bool = False
    ) -> None:
        """Draw a line through points."""
        way = " L".join(f"{_shown(x)} {_shown(y)}" for x, y in points)
        kind = " ".join(filter(None, [ink, "dashed" if dashed else ""]))
        given = {"d": f"M{way}"}
        given |= {"class": kind} if kind else {}
        given |= {"marker-end": "url(#to)"} if arrow else {}
        ET.SubElement(self._root, "path", given)

    def edge(self, source: Box, target: Box, label: str = "", *, shift: float = 0) -> None:
        """Draw an arrow from one box to another, and a label beside its middle."""
        start = source.edge_towards(target.x, target.y)
        end = target.edge_towards(source.x, source.y)
        self.path([start, end])
        x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
        is_level = abs(start[1] - end[1]) < 1
        if not label:
            return
        if is_level:
            self.text(x, y - 7 + shift, label, "soft")
        else:
            self.text(x + 8, y + 4 + shift, label, "soft", anchor="start")

    def loop(self, box: Box, label: str) -> None:
        """Draw an arrow from the top of a box back to it."""
        top = box.y - box.height / 2
        self.path(
            [(box.x - 18, top), (box.x - 18, top - 20), (box.x + 18, top - 20), (box.x + 18, top)]
        )
        self.text(box.x, top - 26, label, "soft")

    def svg(self) -> str:
        """Return the drawing as a file holds it."""
        ET.indent(self._root)
        return ET.tostring(self._root, encoding="unicode") + "\n"


def _shown(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")

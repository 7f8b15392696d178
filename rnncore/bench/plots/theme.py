"""Colours and markers, in light and in dark, that people who are colour-blind tell apart too."""

from __future__ import annotations

from dataclasses import dataclass

MARKERS = {"numba": "o", "numpy": "s", "cuda": "*", "torch": "^", "onnxruntime": "D", "openvino": "v"}
MARKERS |= {"torch-loop": "P", "cudnn": "X", "torch-bf16": "<", "torch-int8": ">", "onnxruntime-int8": "d"}
"""Markers of contenders, so that colour is not all that tells them apart; others have those of `OTHER`."""

OTHER = "other"


@dataclass(frozen=True)
class Theme:
    """Colours. No two are the same, as the SVG is turned dark by exchanging them.

    Attributes:
        paper, ink, faint, line: of the ground, of text, of secondary text, of the grid.
        contenders: of points, lines and bars.
        slower, even, faster: of a heat map's fields, `even` in the middle, the outermost last.
        strong_ink: of text on the outermost fields.
    """

    paper: str
    ink: str
    faint: str
    line: str
    contenders: dict[str, str]
    slower: tuple[str, str, str]
    even: str
    faster: tuple[str, str, str]
    strong_ink: str = "#fffffe"

    def contender(self, name: str) -> str:
        """Colour of a backend or peer."""
        return self.contenders.get(name, self.contenders[OTHER])

    def colours(self) -> list[str]:
        """All of them, in an order that is the same for every theme."""
        fields = (*self.slower, self.even, *self.faster, self.strong_ink)
        return [self.paper, self.ink, self.faint, self.line, *self.contenders.values(), *fields]


LIGHT = Theme(
    paper="#ffffff",
    ink="#1f2328",
    faint="#59636e",
    line="#d1d9e0",
    contenders={
        "numba": "#0072b2",
        "numpy": "#b5478f",
        "cuda": "#00866a",
        "torch": "#b83200",
        "onnxruntime": "#b97900",
        "openvino": "#4a4f57",
        "torch-loop": "#8f5a00",
        "cudnn": "#5b6b00",
        "torch-bf16": "#d8572a",
        "torch-int8": "#7d2400",
        "onnxruntime-int8": "#8a6a1f",
        OTHER: "#7a5c3e",
    },
    slower=("#fbe3d2", "#f5bd95", "#b0450a"),
    even="#eaeef2",
    faster=("#d3e7f6", "#9ccbee", "#0a66a0"),
)

DARK = Theme(
    paper="#0d1117",
    ink="#e6edf3",
    faint="#9ea7b3",
    line="#30363d",
    contenders={
        "numba": "#58b6f0",
        "numpy": "#f0a3d4",
        "cuda": "#3fcfa5",
        "torch": "#ff7043",
        "onnxruntime": "#f2c744",
        "openvino": "#848d97",
        "torch-loop": "#d9a35a",
        "cudnn": "#b3c24a",
        "torch-bf16": "#ff9e80",
        "torch-int8": "#d8502a",
        "onnxruntime-int8": "#fbe08a",
        OTHER: "#c9a47e",
    },
    slower=("#46301f", "#70401d", "#c2530f"),
    even="#262c34",
    faster=("#1a3850", "#1c527d", "#1673b3"),
)

THEMES = {"light": LIGHT, "dark": DARK}


def marker(name: str) -> str:
    """The marker of a backend or peer."""
    return MARKERS.get(name, "P")


def dark_rules() -> str:
    """CSS that turns an SVG in light colours dark where the reader prefers that."""
    pairs = [(light, dark) for light, dark in zip(LIGHT.colours(), DARK.colours(), strict=True) if light != dark]
    rules = "".join(
        f'[style*="{what}: {light}"]{{{what}:{dark} !important}}'
        for light, dark in pairs
        for what in ("fill", "stroke")
    )
    return f"@media (prefers-color-scheme: dark) {{{rules}}}"

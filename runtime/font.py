"""A 5x7 pixel font, drawn here, so that a label can be written without any other package. Lower case shows as upper."""
from __future__ import annotations

import unicodedata

import numpy as np

GLYPH_HW = (7, 5)
GAP = 1  # empty columns between glyphs

# Seven lines a strip, the glyphs side by side in the order of the line above them.
_STRIPS = (
    ("ABCDEFGHI", """
.###. ####. .###. ####. ##### ##### .###. #...# .###.
#...# #...# #...# #...# #.... #.... #...# #...# ..#..
#...# #...# #.... #...# #.... #.... #.... #...# ..#..
##### ####. #.... #...# ####. ####. #.### ##### ..#..
#...# #...# #.... #...# #.... #.... #...# #...# ..#..
#...# #...# #...# #...# #.... #.... #...# #...# ..#..
#...# ####. .###. ####. ##### #.... .###. #...# .###.
"""),
    ("JKLMNOPQR", """
..### #...# #.... #...# #...# .###. ####. .###. ####.
...#. #..#. #.... ##.## ##..# #...# #...# #...# #...#
...#. #.#.. #.... #.#.# ##..# #...# #...# #...# #...#
...#. ##... #.... #.#.# #.#.# #...# ####. #...# ####.
...#. #.#.. #.... #...# #..## #...# #.... #.#.# #.#..
#..#. #..#. #.... #...# #..## #...# #.... #..#. #..#.
.##.. #...# ##### #...# #...# .###. #.... .##.# #...#
"""),
    ("STUVWXYZ ", """
.#### ##### #...# #...# #...# #...# #...# ##### .....
#.... ..#.. #...# #...# #...# #...# #...# ....# .....
#.... ..#.. #...# #...# #...# .#.#. .#.#. ...#. .....
.###. ..#.. #...# #...# #.#.# ..#.. ..#.. ..#.. .....
....# ..#.. #...# .#.#. #.#.# .#.#. ..#.. .#... .....
....# ..#.. #...# .#.#. ##.## #...# ..#.. #.... .....
####. ..#.. .###. ..#.. #...# #...# ..#.. ##### .....
"""),
    ("0123456789", """
.###. ..#.. .###. ####. ...#. ##### .###. ##### .###. .###.
#...# .##.. #...# ....# ..##. #.... #.... ....# #...# #...#
#..## ..#.. ....# ....# .#.#. ####. #.... ...#. #...# #...#
#.#.# ..#.. ...#. .###. #..#. ....# ####. ..#.. .###. .####
##..# ..#.. ..#.. ....# ##### ....# #...# .#... #...# ....#
#...# ..#.. .#... ....# ...#. #...# #...# .#... #...# ....#
.###. .###. ##### ####. ...#. .###. .###. .#... .###. .###.
"""),
    (".,:-_/%+?", """
..... ..... ..... ..... ..... ....# ##..# ..... .###.
..... ..... ..#.. ..... ..... ....# ##..# ..#.. #...#
..... ..... ..#.. ..... ..... ...#. ...#. ..#.. ....#
..... ..... ..... ##### ..... ..#.. ..#.. ##### ..##.
..... .##.. ..#.. ..... ..... .#... .#... ..#.. ..#..
.##.. .##.. ..#.. ..... ..... #.... #..## ..#.. .....
.##.. .#... ..... ..... ##### #.... #..## ..... ..#..
"""),
)


def _read_strips() -> dict[str, np.ndarray]:
    glyphs = {}
    for characters, strip in _STRIPS:
        columns = zip(*(line.split() for line in strip.split("\n") if line))
        for character, rows in zip(characters, columns):
            glyphs[character] = np.array([[pixel == "#" for pixel in row] for row in rows])
    return glyphs


GLYPHS = _read_strips()


def text_mask(text: str) -> np.ndarray:
    """Where the ink of one line of text lies: bool (7, 6 a character).

    Accents are left out; a character without a glyph shows as `?`.
    """
    text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    mask = np.zeros((GLYPH_HW[0], (GLYPH_HW[1] + GAP) * len(text)), bool)
    for i, character in enumerate(text.upper()):
        left = i * (GLYPH_HW[1] + GAP)
        mask[:, left : left + GLYPH_HW[1]] = GLYPHS.get(character, GLYPHS["?"])
    return mask

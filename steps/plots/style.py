"""The style of all pictures, and their rendering and logging."""

import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from itertools import cycle
from pathlib import Path

import matplotlib
import mlflow
from matplotlib.figure import Figure

from steps.runtime.progress import timed

NEGATIVE, POSITIVE, MARK = "#4c78a8", "#d1495b", "#333333"
SPLIT_COLORS = {"training": "#9fb8d3", "validation": "#e08a00", "test": "#3d8b40"}
ENGINE_COLORS = (NEGATIVE, "#f2a541", "#59a14f", "#b07aa1")
# Scores are shown on log and log-odds axes: both need a bound, and neither has a 0.
LOWEST_SCORE = 1e-7
# Rendering tick labels as powers of ten takes longer than rendering the curves.
PLAIN_NUMBERS = "{x:.7g}"


@contextmanager
def drawing() -> Iterator[None]:
    """Draw with matplotlib's defaults, and count the seconds as `drawing`.

    Importing an engine may change fonts and colours.
    """
    with timed("drawing"), matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield


def engine_palette(engines: Iterable[str]) -> dict[str, str]:
    """Return a colour for each engine, the same in every picture of these engines."""
    return dict(zip(sorted(set(engines)), cycle(ENGINE_COLORS), strict=False))


def log_pictures(figures: dict[str, Figure], folder: str) -> dict[str, bytes]:
    """Log `figures`, by file name, to the active run; return them as PNG files."""
    pictures = {name: as_png(figure) for name, figure in figures.items()}
    with tempfile.TemporaryDirectory(prefix="ml-pipes-") as temporary:
        for name, picture in pictures.items():
            (Path(temporary) / name).write_bytes(picture)
        mlflow.log_artifacts(temporary, folder)
    return pictures


@drawing()
def as_png(figure: Figure) -> bytes:
    """Return `figure` as a PNG file. Fonts are resolved only here."""
    file = BytesIO()
    with warnings.catch_warnings():  # names of columns may be in any script
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure.savefig(file, format="png")
    return file.getvalue()

"""Write the digest of requirements.txt into conda.yaml: `make lock` calls it.

MLflow names a conda environment by the text of conda.yaml alone, so a new lock must change it.
"""

import hashlib
import re
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
LINE = re.compile(r"^# lock: .*$", re.MULTILINE)


def lock_line() -> str:
    digest = hashlib.sha256((PROJECT / "requirements.txt").read_bytes()).hexdigest()
    return f"# lock: sha256 {digest}"


if __name__ == "__main__":
    conda = PROJECT / "conda.yaml"
    conda.write_text(LINE.sub(lock_line(), conda.read_text()))

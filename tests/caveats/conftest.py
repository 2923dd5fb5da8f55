"""What the library's tests share: the folder of helpers."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "support"))

"""The small apps' own helpers, importable here and by the apps, which are processes of their own."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "support"))

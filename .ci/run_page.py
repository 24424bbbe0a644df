"""Run the Python of a page of Markdown, cell by cell, as the documentation would.

python .ci/run_page.py PAGE

A cell of the tag `raises-exception` has to raise one; of any other, an exception ends the run.
"""

import re
import sys
from pathlib import Path

CELL = re.compile(r"^```(?:python|\{code-cell\}[^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

page = Path(sys.argv[1])
cells = CELL.findall(page.read_text())
if not cells:
    raise ValueError(f"{page} has no Python")
names = {"__name__": "__main__"}
for number, cell in enumerate(cells, start=1):
    options = re.match(r"(:.*\n)*", cell)[0]
    program = compile(cell.removeprefix(options), f"{page}, cell {number}", "exec")
    if "raises-exception" not in options:
        exec(program, names)
        continue
    try:
        exec(program, names)
    except Exception as error:
        print(f"{type(error).__name__}: {error}")
    else:
        raise RuntimeError(f"{page}, cell {number} was to raise an exception")

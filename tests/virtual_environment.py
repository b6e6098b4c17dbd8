"""Virtual environments that the tests in Python make for themselves, once."""

import shutil
import subprocess
import sys
import venv
from pathlib import Path


def make(directory, *installs):
    """The environment's Python. Each of `installs` is what one run of pip is given: ["-r", "requirements.txt"].

    It is made again when one of the files of requirements changes. Without a network (and without an environment from
    before) the program ends and says so: passing in silence would hide that nothing was tested.
    """
    directory = directory.resolve()
    wanted = "\n".join(a.read_text() if isinstance(a, Path) else a for install in installs for a in install)
    stamp, python = directory / "requirements.installed", directory / "bin" / "python"
    if stamp.is_file() and stamp.read_text() == wanted and python.exists():
        return python
    print(f"making the virtual environment {directory}", flush=True)
    shutil.rmtree(directory, ignore_errors=True)
    try:
        venv.create(directory, with_pip=True)
    except (subprocess.CalledProcessError, SystemExit) as error:
        sys.exit(f"error: cannot make a virtual environment ({error}); on Debian, install python3-venv")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    for install in installs:
        if subprocess.run([*pip, *install], stdin=subprocess.DEVNULL, check=False).returncode != 0:
            sys.exit("error: pip cannot install what this test needs (see above). It needs the network once, to reach "
                     "PyPI or the index that pip is configured for.")
    stamp.write_text(wanted)
    return python

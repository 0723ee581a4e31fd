"""Whether shells complete what the table of the settings has."""

import re
import shutil
import subprocess

import pytest

from pyserver.settings.command_line import SHELLS
from pyserver.settings.completion import render_completion
from pyserver.settings.model import ROWS

SCRIPTS = {shell: render_completion(shell) for shell in SHELLS}
FLAGS = [flag for row in ROWS.values() for flag in (*row.flags, row.negative_flag) if flag]
needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")


def completed(tmp_path, *words):
    """What bash offers for the last of these words."""
    script = tmp_path / "completion"
    script.write_text(SCRIPTS["bash"])
    typed = " ".join(f"'{word}'" for word in words)
    source = f". {script}; COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}; _pyserver; echo \"${{COMPREPLY[@]}}\""
    finished = subprocess.run(
        ["bash", "--norc", "-c", source], cwd=tmp_path, capture_output=True, text=True, timeout=30
    )
    assert finished.stderr == ""
    return finished.stdout.split()


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("flag", [*FLAGS, "--help", "-v", "--completion"])
def test_a_script_has_every_option(shell, flag):
    written = flag
    if shell == "fish":
        written = f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}"
    assert re.search(rf"(?<![\w-]){re.escape(written)}(?![\w-])", SCRIPTS[shell])


@needs_bash
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["pyserver", "--worker-c"], ["--worker-class", "--worker-connections"]),
        (["pyserver", "--loglevel", "de"], ["debug"]),
        (["pyserver", "--loglevel", "=", "de"], ["debug"]),
        (["pyserver", "--loglevel", "="], ["debug", "info", "warning", "error", "critical"]),
        (["pyserver", "-k", "g"], ["gevent"]),
        (["pyserver", "--completion", ""], ["bash", "zsh", "fish"]),
        (["pyserver", "-c", "shop"], ["shop.conf.py"]),
        (["pyserver", "--chdir", "sho"], ["shop"]),
        (["pyserver", "-w", ""], []),
        (["pyserver", "-w", "4", "--no-sendf"], ["--no-sendfile"]),
    ],
)
def test_bash_completes_options_and_values(tmp_path, words, offered):
    (tmp_path / "shop.conf.py").touch()
    (tmp_path / "shop").mkdir()
    found = completed(tmp_path, *words)
    assert [one for one in found if one != "shop" or "-c" not in words] == offered


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_is_one_that_the_shell_can_read(tmp_path, shell):
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    script = tmp_path / "completion"
    script.write_text(SCRIPTS[shell])
    subprocess.run([shell, "-n", str(script)], check=True, timeout=30)

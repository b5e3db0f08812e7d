# SPDX-License-Identifier: MIT
"""The C client in README.md compiles and does what README.md says."""
import re
import subprocess

import pytest
from daemon import BUILD, PATIENCE, ROOT

SANITIZERS = {"asan": ["-fsanitize=address,undefined"], "tsan": ["-fsanitize=thread"], "cov": ["--coverage"]}


@pytest.fixture
def client(workdir):
    """The program, built against the library of the build under test."""
    (block,) = re.findall(r"^```c\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)
    (workdir / "client.c").write_text(block)
    build = ROOT / BUILD
    subprocess.run(
        ["gcc", "-Wall", "-Wextra", "-Werror", *SANITIZERS.get(build.name, []), "-I", ROOT / "lib/client",
         "-o", "client", "client.c", build / "libobjmapper.a", "-pthread"],
        check=True, cwd=workdir, timeout=PATIENCE,
    )
    return workdir / "client"


def run(client, *arguments):
    return subprocess.run([client, *arguments], capture_output=True, timeout=PATIENCE)


def test_readme_client_gets_the_file(client, served, tree):
    done = run(client, served.socket, "/big")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == tree.files["/big"]


def test_readme_client_says_what_is_wrong(client, served):
    done = run(client, served.socket, "/none")
    assert done.returncode == 1 and b"No such file" in done.stderr
    done = run(client)
    assert done.returncode == 1 and b"Invalid argument" in done.stderr

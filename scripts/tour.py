"""Runs the tour of a page against a service and compares what the commands print.

Usage: tour.py PAGE BASE_URL. The tour is the page's blocks of ```console, in their order: lines after `$ ` are commands,
the lines below are what they print. Ids that a command prints first take the place of the page's ids in later commands.
A command below which the page shows nothing has only to succeed.
"""
import re
import subprocess
import sys
from pathlib import Path

PAGE_URL = "http://localhost:8080"
ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def is_complete(command):
    return subprocess.run(["bash", "-n", "-c", command], capture_output=True).returncode == 0


def steps(page):
    """The commands of a page, each with the lines that it shows below."""
    for block in re.findall(r"^```console\n(.*?)^```$", page, re.S | re.M):
        lines = block.splitlines()
        while lines:
            command = lines.pop(0)
            if not command.startswith("$ "):
                sys.exit(f"the block begins with output: {command}")
            command = command.removeprefix("$ ")
            while not is_complete(command):
                command += "\n" + lines.pop(0)
            shown = []
            while lines and not lines[0].startswith("$ "):
                shown.append(lines.pop(0))
            yield command, "\n".join(shown)


def learn(shown, printed, ids):
    """Compares what the page shows with what was printed; ids of the page that are new stand for the printed ones."""
    parts, new = [], []
    for text, known in zip(ID.split(shown), [*ID.findall(shown), None]):
        parts.append(re.escape(text))
        if known in ids:
            parts.append(re.escape(ids[known]))
        elif known:
            parts.append(f"({ID.pattern})")
            new.append(known)
    found = re.fullmatch("".join(parts), printed)
    if found:
        ids.update(zip(new, found.groups()))
    return found is not None


def main():
    page, base = sys.argv[1:]
    functions, ids, count = "", {}, 0
    for command, shown in steps(Path(page).read_text()):
        run = command.replace(PAGE_URL, base)
        for known, actual in ids.items():
            run = run.replace(known, actual)
        if re.match(r"\w+\(\) ", run):
            functions += run + "\n"
        script = f"set -euo pipefail\n{functions}{run}"
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)
        printed = done.stdout.rstrip("\n")
        if done.returncode != 0:
            sys.exit(f"$ {command}\nfailed: {printed}{done.stderr}")
        if shown and not learn(shown, printed, ids):
            sys.exit(f"$ {command}\n{page} shows:\n{shown}\nprinted was:\n{printed}")
        count += 1
    if not count:
        sys.exit(f"{page} has no tour")
    print(f"{page}: {count} commands")


main()

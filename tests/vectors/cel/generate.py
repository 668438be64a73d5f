#!/usr/bin/env python3
"""Generates tests/vectors/cel/epr-cel-1.json: what expressions of the dialect `epr-cel-1` end with.

The expected outcomes come from cel-go, which is inside the program `cerbos` (npm package @cerbos/cerbos-linux-x64), and
are compared with cel-python (PyPI package cel-python). EPR takes no part: its tests compare it with the file. Where the
dialect or the specification differs from cel-go, cases.py says so in a note.

Both packages are installed into --work, a folder outside of the repository, unless they are there already.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from cases import CASES, WORLD  # noqa: E402

CERBOS = "0.55.0"
CEL_PYTHON = "0.5.0"
OUT = pathlib.Path(__file__).with_name("epr-cel-1.json")
DYNAMIC = {"int", "double", "bool", "string", "list<string>"}
KINDS = [
    ("division by zero", "division_by_zero"), ("modulus by zero", "division_by_zero"), ("overflow", "overflow"),
    ("timestamp must be", "overflow"), ("range", "overflow"), ("index out of bounds", "index_out_of_bounds"),
    ("no such overload", "no_such_overload"), ("unsupported index", "no_such_overload"),
    ("unsupported type", "no_such_overload"), ("invalid qualifier", "no_such_overload"),
    ("unexpected", "no_such_overload"), ("parsing time", "invalid_text"), ("invalid duration", "invalid_text"), ("invalid RFC 3339", "invalid_text"),
    ("time: ", "invalid_text"), ("type conversion error", "invalid_text"),
]


def install(work):
    """The path of cerbos, and the Python that has cel-python."""
    program = work / "package" / "cerbos-linux-x64"
    if not program.exists():
        archive = f"@cerbos/cerbos-linux-x64@{CERBOS}"
        subprocess.run(["npm", "pack", "--silent", archive], cwd=work, check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["tar", "xzf", f"cerbos-cerbos-linux-x64-{CERBOS}.tgz"], cwd=work, check=True)
        program.chmod(0o755)
    python = work / "python" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", work / "python"], check=True)
        subprocess.run([python, "-m", "pip", "-q", "install", f"cel-python=={CEL_PYTHON}"], check=True)
    return program, python


def quoted(value):
    """JSON without surrogate pairs, which the language does not have."""
    return json.dumps(value, ensure_ascii=False)


def literal(value):
    """A JSON value as an expression whose type is known only at evaluation."""
    if isinstance(value, dict):
        return "dyn({%s})" % ", ".join(f"{quoted(key)}: {literal(item)}" for key, item in value.items())
    if isinstance(value, list):
        return "dyn([%s])" % ", ".join(literal(item) for item in value)
    if isinstance(value, str):
        return f"dyn({quoted(value)})"
    if isinstance(value, float):
        text = repr(value)
        return f"dyn({text if '.' in text or 'e' in text else text + '.0'})"
    return f"dyn({json.dumps(value)})"


def typed(value, kind):
    if kind in ("timestamp", "duration"):
        return f"{kind}({quoted(value)})"
    return quoted(value)


def roots():
    """The values of the names, as the other implementations get them."""
    found = {}
    for side in ("principal", "resource"):
        found[side] = {**WORLD[side], "effective": {**WORLD[side]["attributes"], **WORLD[side]["properties"]}}
    found["action"] = {"name": WORLD["action"], "properties": {}}
    return found


def cel_go_text(case):
    """The expression with its inputs bound to names."""
    text, bindings = case["cel"], {name: literal(value) for name, value in roots().items()}
    text = re.sub(r"'(?:[^'\\]|\\.)*'|\bnow\b", lambda found: "the_time" if found[0] == "now" else found[0], text)
    bindings["the_time"] = f"timestamp('{WORLD['now']}')"
    for name, value in case["context"].items():
        kind = case["parameters"].get(name)
        if kind is None or kind == "ip":
            continue
        for form in (f"context.{name}", f"context['{name}']"):
            if form in text and f"has({form})" not in text:
                text = re.sub(re.escape(form) + r"\b" if form[-1] != "]" else re.escape(form), f"the_{name}", text)
                bindings[f"the_{name}"] = typed(value, kind)
    bindings["context"] = literal(case["context"])
    used = [name for name in bindings if re.search(rf"\b{name}\b", text)]
    for name in used:
        text = f"cel.bind({name}, {bindings[name]}, {text})"
    return text


def is_open(text):
    """Whether a bracket or a quote is open: the prompt of cerbos waits for the rest, so nothing would be answered."""
    bare = re.sub(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", "", text)
    unbalanced = any(bare.count(left) > bare.count(right) for left, right in ("()", "[]", "{}"))
    return unbalanced or "'" in bare or '"' in bare


def cel_go(program, found):
    """What cel-go says about each case: `true`, `false`, `rejected`, or an error with its text."""
    lines = []
    for at, case in enumerate(found):
        text = cel_go_text(case).replace("\n", " ").strip()
        lines += ["()" if not text or is_open(text) else text, f'"@@{at}"']
    given = "\n".join([*lines, ":exit", ""])
    said = subprocess.run([program, "repl"], input=given, capture_output=True, text=True, timeout=300, check=False).stdout
    answers, rest = [], said.split("-> ", 1)[1]
    for at in range(len(found)):
        answer, rest = rest.split(f'-> _ = "@@{at}"', 1)
        answer = answer.replace("-> ", "", 1) if at else answer
        answer = answer.strip()
        if answer.startswith("_ = "):
            answers.append(answer[4:])
        elif answer.startswith("Error: Failed to process input"):
            answers.append("error " + " ".join(answer.split("\n")[1:]).strip())
        else:
            answers.append("rejected")
    return answers


SECOND_OPINION = """
import json, sys, celpy
from celpy import celtypes
def convert(value, kind):
    if kind == "timestamp": return celtypes.TimestampType(value)
    if kind == "duration": return celtypes.DurationType(value)
    return celpy.json_to_cel(value)
def says(case, roots, now):
    try:
        environment = celpy.Environment()
        program = environment.program(environment.compile(case["cel"]))
    except Exception as problem:
        return "rejected"
    try:
        context = {celtypes.StringType(k): convert(v, case["parameters"].get(k)) for k, v in case["context"].items()}
        names = {name: celpy.json_to_cel(value) for name, value in roots.items()}
        names["context"], names["now"] = celtypes.MapType(context), celtypes.TimestampType(now)
        result = program.evaluate(names)
    except Exception as problem:
        return "error"
    if isinstance(result, celtypes.BoolType): return "true" if result else "false"
    return "error"
given = json.load(sys.stdin)
print(json.dumps([says(case, given["roots"], given["now"]) for case in given["cases"]]))
"""


def cel_python(python, found):
    given = json.dumps({"cases": found, "roots": roots(), "now": WORLD["now"]})
    said = subprocess.run([python, "-c", SECOND_OPINION], input=given, capture_output=True, text=True, check=True).stdout
    return json.loads(said)


def expected(case, answer):
    """The outcome in the words of the dialect."""
    if case["expect"]:
        return case["expect"]
    if answer in ("true", "false", "rejected"):
        return answer
    if not answer.startswith("error "):
        return "error no_such_overload"
    if "no such key" in answer:
        # cel-go says this also of a value that is no map.
        return f"missing {case['missing']}" if case["missing"] else "error no_such_overload"
    kind = next((kind for text, kind in KINDS if text in answer), None)
    assert kind, f"{case['expression']}: unknown error {answer}"
    return f"error {kind}"


def agrees(outcome, answer):
    """Whether an answer is of the class of the outcome. Without a checker, a rejection is an error of an evaluation."""
    kind = outcome.split()[0]
    if kind in ("true", "false"):
        return answer == outcome
    return answer not in ("true", "false") and kind != "wrong_type"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=pathlib.Path, required=True, help="a folder for the two packages")
    parser.add_argument("--check", action="store_true", help="compare with the file instead of writing it")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    program, python = install(options.work.resolve())
    go, other = cel_go(program, CASES), cel_python(python, CASES)
    written = []
    for case, first, second in zip(CASES, go, other):
        outcome = expected(case, first)
        agreed = [name for name, answer in (("cel-go", first), ("cel-python", second)) if agrees(outcome, answer)]
        entry = {name: case[name] for name in ("expression", "parameters", "context")}
        entry |= {"expected": outcome, "agreed": agreed}
        if case["note"] and "cel-go" not in agreed or case["expect"]:
            entry["note"] = case["note"]
        if "cel-go" not in agreed:
            assert case["note"], f"{case['expression']}: cel-go says {first}, the case {outcome}, and no note says why"
        elif "cel-python" not in agreed:
            entry["note"] = f"cel-python: {second}" if not case["note"] else case["note"]
        written.append(entry)
    document = {
        "dialect": "epr-cel-1",
        "generated_by": "tests/vectors/cel/generate.py",
        "implementations": {"cel-go": f"in cerbos {CERBOS}", "cel-python": CEL_PYTHON},
        "world": WORLD,
    }
    lines = ",\n".join("    " + json.dumps(entry, ensure_ascii=False) for entry in written)
    text = json.dumps(document, ensure_ascii=False, indent=2)[:-2] + f',\n  "cases": [\n{lines}\n  ]\n}}\n'
    if options.check:
        sys.exit(0 if text == OUT.read_text() else f"{OUT} differs")
    OUT.write_text(text)
    both = sum(len(entry["agreed"]) == 2 for entry in written)
    print(f"{len(written)} cases; in {both} both implementations agree; {sum('note' in entry for entry in written)} have a note")


if __name__ == "__main__":
    main()

"""The cases of the conformance file: expressions, and what an implementation of the whole language cannot know.

`A.` and `R.` abbreviate `principal.attributes.` and `resource.attributes.`. A case says `missing` when a name of the
inputs is absent, and `expect` with a `note` where the dialect differs from the other implementations on purpose.
"""

WORLD = {
    "principal": {
        "id": "00000000-0000-0000-0000-00000000000a",
        "type": "user",
        "external_id": "emp-7",
        "attributes": {
            "b": True, "f": False, "i": 1, "i2": 2, "neg": -7, "max": 9223372036854775807,
            "min": -9223372036854775808, "odd53": 9007199254740993, "d": 1.0, "h": 0.5, "huge": 1e19, "s": "abc",
            "empty": "", "uni": "été", "emoji": "\U0001f600", "n": None, "l": [1, 2, 3], "ls": ["a", "b"],
            "mixed": [1, "a", None, True, 1.5, [1]], "m": {"k": 1, "deep": {"x": "y"}}, "t": "2026-03-01T12:00:00Z",
            "dur": "90m", "a b": 1, "clearance": 3,
        },
        "properties": {"clearance": 5, "device": "phone"},
    },
    "resource": {
        "id": "00000000-0000-0000-0000-00000000000b",
        "type": "spv",
        "attributes": {"owner": "00000000-0000-0000-0000-00000000000a", "level": 2, "tags": ["confidential", "q4"]},
        "properties": {},
    },
    "action": "document:download",
    "now": "2026-03-01T12:00:00Z",
}

CASES = []


def case(expression, parameters=None, context=None, missing=None, expect=None, note=None, cel=None):
    """Adds a case. `cel` is the expression in the words of the other implementations, where they differ."""
    assert not expect or note, f"{expression}: an expected outcome of our own needs a note"
    written = expression.replace("A.", "principal.attributes.").replace("R.", "resource.attributes.")
    CASES.append({
        "expression": written, "parameters": parameters or {}, "context": context or {}, "missing": missing,
        "expect": expect, "note": note, "cel": (cel or written),
    })


def cases(*expressions, **options):
    for expression in expressions:
        case(expression, **options)


# Equality and order of values whose types are known only at evaluation.
KINDS = ["b", "i", "d", "h", "s", "empty", "n", "l", "ls", "m"]
for at, left in enumerate(KINDS):
    for right in KINDS[at:]:
        case(f"A.{left} == A.{right}")
ORDERED = ["b", "i", "d", "s", "n", "l"]
for left in ORDERED:
    for right in ORDERED:
        case(f"A.{left} < A.{right}")
for left, right in [("i", "i2"), ("i", "d"), ("h", "i"), ("s", "uni"), ("f", "b"), ("max", "huge"), ("min", "neg")]:
    for operator in ["<=", ">", ">=", "!="]:
        case(f"A.{left} {operator} A.{right}")
EXACT = "the specification compares numbers on one continuous line; cel-go rounds the int to a double"
case("A.odd53 == 9007199254740992.0", expect="false", note=EXACT)
case("A.odd53 > 9007199254740992.0", expect="true", note=EXACT)
case("A.max < 9223372036854775808.0", expect="true", note=EXACT)
case("9223372036854775807 < 9223372036854775807.0", expect="true", note=EXACT)
cases("A.min == -9223372036854775808.0", "A.huge > A.max", "1 < 1.5", "2.5 > 2", "1 <= 1.0", "-1 > -1.5")
STATIC = "cel-go's checker asks for dyn(…) here, which the dialect does not have; the runtime semantics are the same"
case("1 == 1.0", expect="true", note=STATIC)
case("1 != 1.5", expect="true", note=STATIC)
case("1.0 in {1: 'a'}", expect="true", note=STATIC)
case("1.0 in [1, 2]", expect="true", note=STATIC)
case("{'a': 1} == {'a': 1.0}", expect="true", note=STATIC)
case("[1, 2] == [1.0, 2.0]", expect="true", note=STATIC)
cases("[A.i, 2] == [1.0, 2]", "{'k': A.d} == {'k': 1}", "[1] == [1, 2]", "[] == []", "{} == {}", "[[1]] == [[2]]",
      "{'a': [1, {'b': 2}]} == {'a': [1, {'b': 2}]}", "{'a': 1} == {'b': 1}", "{'a': 1, 'b': 2} == {'b': 2, 'a': 1}",
      "A.m == {'k': 1, 'deep': {'x': 'y'}}", "A.l == [1, 2, 3]", "A.l != [3, 2, 1]", "null == null", "A.n == null",
      "A.i == null", "A.i != null", "0.0 == -0.0", "0.0/0.0 == 0.0/0.0", "0.0/0.0 != 0.0/0.0", "0.0/0.0 < 1.0",
      "0.0/0.0 >= 1.0", "1.0/0.0 > 1e308", "-1.0/0.0 < -1e308", "'a' < 'b'", "'B' < 'a'", "'a' < 'aa'", "'' < 'a'",
      "'é' > 'z'", "A.emoji > '\\uffff'", "false < true", "true <= true")

# Arithmetic.
cases("1 + 2 == 3", "7 - 10 == -3", "6 * 7 == 42", "7 / 2 == 3", "-7 / 2 == -3", "7 / -2 == -3", "-7 % 2 == -1",
      "7 % -2 == 1", "-7 % -2 == -1", "7 % 2 == 1", "A.neg / 2 == -3", "A.neg % 2 == -1", "1 / 0 == 1", "1 % 0 == 1",
      "A.i / (A.i - 1) == 1", "9223372036854775807 + 1 == 0", "A.max + 1 == 0", "A.max - -1 == 0", "A.min - 1 == 0",
      "-9223372036854775808 - 1 == 0", "A.max * 2 == 0", "A.min * -1 == 0", "A.min / -1 == 0", "-A.min == 0",
      "-A.max == -9223372036854775807", "A.max + A.min == -1", "2 + 3 * 4 == 14", "(2 + 3) * 4 == 20",
      "10 - 3 - 2 == 5", "100 / 10 / 5 == 2", "100 / 10 * 5 == 50", "7 % 4 % 2 == 1", "-2 * -3 == 6", "- 5 == -5",
      "--5 == 5", "1.5 + 2.5 == 4.0", "1.5 - 2.0 == -0.5", "1.5 * 2.0 == 3.0", "1.0 / 4.0 == 0.25", "0.1 + 0.2 == 0.3",
      "0.1 + 0.2 > 0.3", "1e308 * 10.0 > 1e308", "A.h + A.h == 1.0", "-A.h == -0.5", "A.i + A.i2 == 3",
      "A.i + A.d == 2", "A.i + A.s == 2", "A.s - A.s == 0", "A.n + 1 == 1", "A.b * 2 == 2", "A.h % A.h == 0.0",
      "-A.s == 'x'", "A.max / 2 == 4611686018427387903", "A.i2 * A.h == 1.0")
cases("1 + 1.0 == 2.0", "1.5 % 1.0 == 0.5", "true + 1 == 2", "1 < 'a'", "1 == 'a'", "null < 1", "-true", "!1 == 1",
      "[1] < [2]", "{} < {}", "'a' == true")

# Logic: an operand that decides absorbs what is missing or wrong.
OPERANDS = {"true": ("true", None), "false": ("false", None), "missing": ("A.zz", "principal.attributes.zz"),
            "error": ("1 / A.min * 0 == 1 / (A.i - 1)", None)}
for left, (one, _) in OPERANDS.items():
    for right, (other, _) in OPERANDS.items():
        for operator in ["&&", "||"]:
            decides = "false" if operator == "&&" else "true"
            pair = {left, right}
            if decides in pair or not pair & {"missing", "error"}:
                case(f"{one} {operator} {other}")
            elif "error" in pair:
                note = "an error wins over what is missing" if "missing" in pair else None
                case(f"{one} {operator} {other}", expect="error division_by_zero" if note else None, note=note)
            else:
                case(f"{one} {operator} {other}", missing="principal.attributes.zz")
cases("!true", "!false", "!!true", "!A.b", "!A.s", "!(1 / 0 == 1)", "A.s && false", "A.s && true", "A.s || true",
      "A.s || false", "true && A.n", "A.n || true", "A.b ? A.f : A.b", "A.f ? 1 / 0 == 1 : true", "A.s ? true : false",
      "true ? false : true ? false : true", "(true ? 1 : 2) == 1", "A.b ? A.i == 1 : A.zz == 1",
      "false || false || true", "true && true && false", "true || false && false", "(true || false) && false",
      "!false && false", "1 < 2 == true", "true == 1 < 2", "1 + 1 < 3 && 2 * 2 == 4", "1 in [1] == true",
      "!A.b || A.i == 1", "A.f || A.i < 0 || A.s == 'abc'", "(A.i == 1 ? A.s : A.l) == 'abc'")
case("A.zz ? true : false", missing="principal.attributes.zz")
case("!A.zz", missing="principal.attributes.zz")
case("A.zz == A.yy", missing="principal.attributes.yy principal.attributes.zz")
case("A.zz && A.yy", missing="principal.attributes.yy principal.attributes.zz")

# Strings and literals.
cases("'a' == \"a\"", "'''a''b''' == \"a''b\"", "\"\"\"a\"\"b\"\"\" == 'a\"\"b'", "r'\\n' == '\\\\n'", "R'a' == 'a'",
      "'\\n' == r'\\n'", "'\\x41\\u0042\\U00000043\\104' == 'ABCD'", "'\\a\\b\\f\\t\\v\\r' == '\\x07\\x08\\x0c\\x09\\x0b\\x0d'",
      "'\\'\\\"\\`\\?' == \"'\\\"`?\"", "'\\303\\277' == 'Ã¿'", "'\\X41' == 'A'", "'é' == '\\u00e9'", "'e\\u0301' == 'é'",
      "A.uni == 'été'", "size(A.uni) == 3", "size(A.emoji) == 1", "size('') == 0", "A.s.size() == 3", "'abc'.size() == 3",
      "size(A.s) == 3", "size(A.l) == 3", "A.l.size() == 3", "size(A.m) == 2", "size({}) == 0", "size([]) == 0",
      "size({'a': 1, 'b': 2}) == 2", "size(A.i) == 1", "size(A.n) == 0", "'abc'.startsWith('ab')", "'abc'.startsWith('')",
      "'abc'.startsWith('abcd')", "'abc'.endsWith('bc')", "'abc'.endsWith('ab')", "'abc'.contains('b')",
      "'abc'.contains('')", "'abc'.contains('d')", "A.uni.contains('t')", "A.uni.endsWith('é')", "A.s.startsWith(A.s)",
      "A.s.contains(A.i)", "A.i.contains('1')", "A.n.startsWith('a')", "''.contains('')", "'ABC'.contains('b')",
      "0x10 == 16", "0xFf == 255", "-0x10 == -16", "1e3 == 1000.0", "1.5E-1 == 0.15", ".5 == 0.5", "1e+2 == 100.0",
      "9223372036854775807 > 0", "-9223372036854775808 < 0", "true // a comment", "( true )", "\ttrue ",
      "'a//b' == 'a//b'", "[1, 2,] == [1, 2]", "{'a': 1,} == {'a': 1}")
cases("r'a\\b' == 'a\\\\b'")

# Lists, maps, has.
cases("1 in [1, 2]", "3 in [1, 2]", "'a' in A.ls", "'c' in A.ls", "A.i in A.l", "A.d in A.l", "A.h in A.l", "A.n in A.mixed",
      "'a' in A.mixed", "1.5 in A.mixed", "[1] in A.mixed", "'z' in A.mixed", "1 in []", "A.s in [A.s, 'x']",
      "'k' in A.m", "'x' in A.m", "A.i in A.m", "1 in A.i", "'a' in A.s", "'a' in {'a': 1}", "1 in {1: 'a'}",
      "2 in {1: 'a'}", "true in {true: 1}", "A.n in A.m", "[1, 2][0] == 1", "[1, 2][1] == 2", "[1, 2][2] == 2",
      "[1, 2][-1] == 2", "A.l[0] == 1", "A.l[A.i] == 2", "A.l[A.d] == 2", "A.l[A.h] == 2", "A.l['0'] == 1", "A.l[A.s] == 1",
      "A.l[9] == 1", "A.m['k'] == 1", "A.m.k == 1", "A.m.deep.x == 'y'", "A.m['deep']['x'] == 'y'", "A.m.deep['x'] == 'y'",
      "A['a b'] == 1".replace("A[", "principal.attributes["), "{'a': 1}.a == 1", "{'a': 1}['a'] == 1", "{1: 'a'}[1] == 'a'",
      "{1: 'a'}[A.d] == 'a'", "{true: 'a'}[true] == 'a'", "{'a': {'b': 1}}.a.b == 1", "{A.s: 1}.abc == 1", "A.s.x == 1",
      "A.i['x'] == 1", "A.l.x == 1", "A.n.x == 1", "A.mixed[1] == 'a'", "A.mixed[2] == null", "A.mixed[5][0] == 1",
      "[[1, 2], [3]][0][1] == 2", "has(A.i)", "has(A.zz)", "has(A.n)", "has(A.m.k)", "has(A.m.zz)", "has(A.m.deep.x)",
      "has(A.l.x)", "has({'a': 1}.a)", "has({'a': 1}.b)", "!has(A.zz)", "has(A.zz) && A.zz == 1",
      "has(A.i) ? A.i == 1 : false", "[1, 'a', null] == [1, 'a', null]", "size([[1], [2]]) == 2")
case("{'a': 1}.b == 1", expect="error no_such_key", note="a map of the expression itself: nothing of the inputs is missing")
case("{1: 'a'}[2] == 'a'", expect="error no_such_key",
     note="a map of the expression itself: nothing of the inputs is missing")
case("has(A.s.x)", expect="error no_such_overload",
     note="the specification makes has() of a value that is no map an error; cel-go says false")
DUPLICATE = "the specification makes a repeated key an error; cel-go keeps the last"
case("{'a': 1, 'a': 2} == {'a': 2}", expect="error duplicate_key", note=DUPLICATE)
case("{A.s: 1, 'abc': 2} == {}", expect="error duplicate_key", note=DUPLICATE)
case("{A.i: 1, 1: 2} == {}", expect="error duplicate_key", note=DUPLICATE)
KEY = "the specification allows keys of the types int, uint, bool and string"
case("{A.h: 1} == {}", expect="error no_such_overload", note=KEY)
case("{A.n: 1} == {}", expect="error no_such_overload", note=KEY)
case("{[]: 1} == {}", expect="rejected", note=KEY)
case("1 in {'a': 1}", expect="false", note="the dialect does not track the types of keys; cel-go's checker does")
case("{1.5: 1} == {}", expect="rejected", note=KEY)
for expression, names in [("A.zz == 1", "principal.attributes.zz"), ("A.m.zz == 1", "principal.attributes.m.zz"),
                          ("A.zz.yy == 1", "principal.attributes.zz"), ("A.m['z z'] == 1", 'principal.attributes.m["z z"]'),
                          ("A.m.deep.zz == 1", "principal.attributes.m.deep.zz"), ("has(A.zz.yy)", "principal.attributes.zz"),
                          ("A.m[A.s] == 1", "principal.attributes.m.abc"), ("size(A.zz) == 1", "principal.attributes.zz"),
                          ("A.zz.contains('a')", "principal.attributes.zz"), ("[A.zz] == []", "principal.attributes.zz"),
                          ("{'a': A.zz} == {}", "principal.attributes.zz"), ("A.zz in [1]", "principal.attributes.zz"),
                          ("1 in [1, A.zz]", "principal.attributes.zz"), ("1 in A.zz", "principal.attributes.zz"),
                          ("timestamp(A.zz) < now", "principal.attributes.zz"), ("-A.zz == 1", "principal.attributes.zz"),
                          ("A.l[A.zz] == 1", "principal.attributes.zz"), ("resource.external_id == 'x'", "resource.external_id"),
                          ("R.zz == 1", "resource.attributes.zz"), ("principal.properties.zz == 1", "principal.properties.zz"),
                          ("action.properties.zz == 1", "action.properties.zz"),
                          ("principal.effective.zz == 1", "principal.effective.zz")]:
    case(expression, missing=names)

# Names.
cases("principal.id == '00000000-0000-0000-0000-00000000000a'", "principal.type == 'user'", "principal.external_id == 'emp-7'",
      "resource.type in ['spv', 'offering']", "R.owner == principal.id", "R.owner == resource.id", "A.clearance >= R.level",
      "principal.effective.clearance == 5", "principal.effective.device == 'phone'", "principal.effective.s == 'abc'",
      "principal.properties.clearance == 5", "'confidential' in R.tags", "action.name == 'document:download'",
      "action.name.startsWith('document:')", "has(resource.external_id)", "has(principal.external_id)", "has(principal.properties.device)",
      "principal['type'] == 'user'", "size(principal.properties) == 2", "size(resource.properties) == 0",
      "'device' in principal.effective", "has(principal.effective.device)", "has(resource.effective.device)")

# Time.
T = "timestamp('2026-03-01T12:00:00Z')"
cases(f"now == {T}", f"now != {T}", f"now < {T}", f"now <= {T}", f"now > {T}", f"now >= {T}", f"now - {T} == duration('0s')",
      f"now + duration('1h') > {T}", f"now - duration('1h') < {T}", f"duration('1h') + now == now + duration('1h')",
      f"now - (now - duration('90m')) == duration('1h30m')", f"timestamp(A.t) == now", f"duration(A.dur) == duration('1h30m')",
      f"timestamp({T}) == {T}", "duration(duration('1s')) == duration('1000ms')", "timestamp(0) == timestamp('1970-01-01T00:00:00Z')",
      "timestamp(A.i) == timestamp('1970-01-01T00:00:01Z')", "timestamp(-1) == timestamp('1969-12-31T23:59:59Z')",
      "timestamp('2026-03-01T13:00:00+01:00') == now", "timestamp('2026-03-01T06:30:00-05:30') == now",
      "timestamp('2026-03-01T12:00:00.000000001Z') > now", "timestamp('2026-03-01T12:00:00.5Z') - now == duration('500ms')",
      "timestamp('2024-02-29T00:00:00Z') < now", "timestamp('0001-01-01T00:00:00Z') < now", "timestamp('9999-12-31T23:59:59.999999999Z') > now",
      "duration('1h') == duration('60m')", "duration('1.5h') == duration('90m')", "duration('-1s') < duration('0s')",
      "duration('1h30m') == duration('90m')", "duration('1ms') == duration('1000us')", "duration('1us') == duration('1000ns')",
      "duration('+1s') == duration('1s')", "duration('.5s') == duration('500ms')", "duration('0') == duration('0s')",
      "duration('1h') + duration('1m') == duration('61m')", "duration('1h') - duration('2h') == duration('-1h')",
      "timestamp('9999-12-31T23:59:59Z') + duration('1s') > now", "timestamp('0001-01-01T00:00:00Z') - duration('1s') < now",
      "duration('2540400h') + duration('2540400h') > duration('0s')", "timestamp('9999-12-31T00:00:00Z') - timestamp('0001-01-01T00:00:00Z') > duration('0s')",
      "timestamp(A.s) < now", "duration(A.s) == duration('1s')", "timestamp(A.b) < now", "duration(A.l) == duration('1s')",
      "timestamp(A.max) < now", "now + A.i > now", "A.t < now", "now - A.t == duration('0s')", "now in [now]",
      "now in [timestamp(A.t), now + duration('1s')]", "[now] == [timestamp(A.t)]", "now == A.t", "A.dur != duration('90m')",
      "now >= timestamp('2026-03-01T09:00:00Z') && now < timestamp('2026-03-01T17:00:00Z')",
      "now - timestamp('2026-03-01T00:00:00Z') >= duration('9h')", "size([now]) == 1", "{'a': now}.a == now")
for text in ["2026-03-01", "2026-03-01T12:00:00", "2026-02-30T12:00:00Z", "2026-13-01T12:00:00Z", "2026-03-01T24:00:00Z",
             "2026-03-01T12:00:60Z", "2026-03-01 12:00:00Z", "10000-01-01T00:00:00Z", "0000-12-31T23:59:59Z", "", "x"]:
    case(f"timestamp('{text}') < now")
for text in ["1d", "", "1", "s", "1h 30m", "9223372037s1x", "abc", "2562047h48m", "--1s", "1H"]:
    case(f"duration('{text}') == duration('1s')")
cases("now + now == now", "now * 2 == now", "-now == now", "-duration('1s') == duration('-1s')", "duration('1s') * 2 == duration('2s')",
      "duration('1s') - now == now", "now < duration('1s')", "now == 1", "now < '2026-03-01T12:00:00Z'")
case("duration('1d') == duration('24h') || true", expect="rejected", note="invalid literals are found when they are written")

# Parameters.
ALL = {"yes": "bool", "n": "int", "x": "double", "s": "string", "at": "timestamp", "for": "duration", "tags": "list<string>"}
GIVEN = {"yes": True, "n": 9500, "x": 0.25, "s": "DE", "at": "2026-03-01T11:00:00Z", "for": "45m", "tags": ["a", "b"]}
for expression in ["context.n <= 10000", "context.n > 10000", "context.yes", "!context.yes", "context.x < 0.5", "context.x * 4.0 == 1.0",
                   "context.s in ['DE', 'AT']", "context.s == 'FR'", "now - context.at <= context['for']", "context.at < now",
                   "context.at + duration('1h') == now", "'a' in context.tags", "size(context.tags) == 2", "context.tags[1] == 'b'",
                   "context.tags == ['a', 'b']", "context.n == 9500 && context.s == 'DE' && context.yes", "has(context.n)",
                   "context.n + 500 == 10000", "context.n / 1000 == 9", "context.n > A.max", "context.n < context.x",
                   "context.n + context.x > 1.0", "context.n == context.s", "context.s < context.n", "context.tags == 'a'",
                   "context.yes == 1", "context.n in context.tags", "context.tags + ['c'] == []", "context.s.startsWith('D')"]:
    options = {}
    if "+ ['c']" in expression:
        options = {"expect": "rejected", "note": "concatenation of lists and strings is not part of the dialect"}
    case(expression, {**ALL}, {**GIVEN}, **options)
for name in ["n", "s", "tags"]:
    case(f"context.{name} == context.{name}", {**ALL}, {}, missing=f"context.{name}")
    case(f"has(context.{name})", {**ALL}, {})
case("context.n > 1 || context.yes", {**ALL}, {"yes": True})
case("context.n > 1 && context.yes", {**ALL}, {"yes": True}, missing="context.n")
case("context.n > 1 && context.yes", {**ALL}, {}, missing="context.n context.yes")
OWN = "parameters are EPR's: a declared one of another type is an error of the caller"
for kind, value in [("int", "1"), ("int", 1.5), ("int", True), ("bool", "true"), ("bool", 0), ("double", "1.5"), ("string", 1),
                    ("string", ["a"]), ("timestamp", "yesterday"), ("timestamp", 1), ("duration", "1d"), ("duration", 60),
                    ("ip", "10.0.0"), ("ip", 1), ("list<string>", "a"), ("list<string>", [1]), ("list<string>", {"a": 1})]:
    case("true", {"p": kind}, {"p": value}, expect=f"wrong_type p {kind}", note=OWN)
case("has(context.p)", {"p": "int"}, {"p": None}, expect="false", note="null in the context means absent")
case("context.p == 1", {"p": "int"}, {"p": None}, expect="missing context.p", note="null in the context means absent")
case("context.p == 2.0", {"p": "double"}, {"p": 2}, expect="true", note="many senders write the double 2.0 as 2")
case("context.q == 1", {"p": "int"}, {"q": 1}, expect="rejected", note="parameters are EPR's: an undeclared one is rejected")

# Addresses: the words differ, the meaning is compared.
for address, network in [("10.1.2.3", "10.0.0.0/8"), ("11.1.2.3", "10.0.0.0/8"), ("192.168.1.127", "192.168.1.0/25"),
                         ("192.168.1.128", "192.168.1.0/25"), ("0.0.0.0", "0.0.0.0/0"), ("10.0.0.1", "10.0.0.1/32"),
                         ("2001:db8::1", "2001:db8::/32"), ("2001:db9::1", "2001:db8::/32"), ("::1", "::1/128"), ("::1", "::/0"),
                         ("10.0.0.1", "2001:db8::/32"), ("::1", "10.0.0.0/8")]:
    case(f"inCidr(context.from, '{network}')", {"from": "ip"}, {"from": address}, cel=f"'{address}'.inIPAddrRange('{network}')")
    case(f"inCidr(ip('{address}'), '{network}')", cel=f"'{address}'.inIPAddrRange('{network}')")
case("inCidr(context.from, '10.0.0.0/8')", {"from": "ip"}, {"from": "::ffff:10.1.2.3"}, cel="'::ffff:10.1.2.3'.inIPAddrRange('10.0.0.0/8')")
ADDRESS = "addresses are EPR's extension"
case("ip('::ffff:10.0.0.1') == ip('10.0.0.1')", expect="true", note=ADDRESS)
case("ip('2001:DB8::0001') == ip('2001:db8::1')", expect="true", note=ADDRESS)
case("ip(A.s) == ip('10.0.0.1')", expect="error invalid_text", note=ADDRESS)
case("inCidr(ip('10.0.0.1'), A.s)", expect="error invalid_text", note=ADDRESS)
case("inCidr(A.s, '10.0.0.0/8')", expect="error no_such_overload", note=ADDRESS)
case("ip('10.0.0.1') < ip('10.0.0.2')", expect="rejected", note=ADDRESS)
case("inCidr(ip('10.0.0.1'), '10.0.0.1/8')", expect="rejected", note="bits behind the prefix must be zero")
case("inCidr(ip('10.0.0.1'), '10.0.0.1')", expect="rejected", note="a network has a prefix length")

# Rejected by everybody.
cases("", "1 +", "(true", "true)", "[1, 2", "{'a' 1}", "true &&", "&& true", "1 == == 1", "a ? b", "'abc", "\"abc", "'a\\q' == ''",
      "'\\ud800' == ''", "true false", "1 2", "@", "#", "true || ", "!", "-", "x.", "if", "has(1)", "has(A)", "size()", "size(1)",
      "startsWith('a', 'b')", "'a'.startsWith()", "'a'.startsWith(1)", "nothing(1)", "9223372036854775808 > 0", "1 ? true : false",
      "'a' && true", "'a' in 'abc'", "1[0] == 1", "'a'.b == 1", "[1]['a'] == 1", "unknown == 1")
# Rejected by the dialect alone.
FROZEN = "not part of the dialect"
for expression in ["[1].exists(x, x == 1)", "[1].all(x, x == 1)", "size([1].map(x, x)) == 1", "size([1].filter(x, x > 0)) == 1",
                   "'abc'.matches('a.*')", "'a' + 'b' == 'ab'", "[1] + [2] == [1, 2]", "int('1') == 1", "string(1) == '1'",
                   "double(1) == 1.0", "bool('true')", "dyn(1) == 1", "type(1) == int", "1u == 1u", "b'a' == b'a'",
                   "now.getHours() == 12", "now.getFullYear() == 2026", "duration('1h').getMinutes() == 60",
                   "principal == principal", "context == {}", "'n' in context", ".true || true"]:
    case(expression, expect="rejected", note=FROZEN)
case("A.s + 'b' == 'abcb'", expect="rejected", note=FROZEN)
case("A.s + A.s == 'abcabc'", expect="error no_such_overload", note="concatenation is not part of the dialect")
case("A.l + A.l == []", expect="error no_such_overload", note="concatenation is not part of the dialect")
case("'''a\\nb''' == 'a\\nb'")
case("(" * 16 + "true" + ")" * 16)
case("(" * 17 + "true" + ")" * 17, expect="rejected", note="nested deeper than 16 levels")
case("true" + " && true" * 64)
case("true" + " && true" * 65, expect="rejected", note="more than 64 operators")

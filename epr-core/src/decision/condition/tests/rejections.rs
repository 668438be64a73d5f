//! What is rejected when it is written: the position, and a sentence with what is wrong and what to do.

use super::condition;
use crate::decision::condition::Compiled;
use crate::domain::Condition;

fn rejection(expression: &str) -> String {
    let condition =
        condition(expression, r#"{"amount":"int","who":"ip","rate":"double","at":"timestamp","tags":"list<string>"}"#);
    match Compiled::new(&condition) {
        Ok(_) => "accepted".into(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_rejection_names_the_position_and_what_to_do() {
    for (expression, expected) in [
        (" ", "at position 1: the end of the expression stands where a value is expected"),
        ("context.amount <= 10 000", "at position 21: a number stands where an operator or the end"),
        ("context.amout <= 10", "at position 0: the parameter `amout` is not declared; did you mean `context.amount`?"),
        ("context.limit <= 10", "the parameter `limit` is not declared; add it to `parameters` with its type"),
        ("'é' == context.limit", "at position 7: the parameter `limit` is not declared"),
        ("amount <= 10", "`amount` is a parameter; write `context.amount`"),
        ("request.amount <= 10", "the name `request` is unknown; an expression knows `context`, `principal`"),
        ("principle.id == 'x'", "the name `principle` is unknown; did you mean `principal`?"),
        ("principal.atributes.x == 1", "`principal` has no member `atributes`; did you mean `principal.attributes`?"),
        ("resource.color == 1", "`resource` has no member `color`; it has `id`"),
        ("context == {}", "`context` is no value; select a declared parameter"),
        ("'amount' in context", "at position 12: `context` is no value"),
        ("principal == null", "`principal` is no value; select one of its members, for example `principal.id`"),
        ("context.amount = 10", "`=` is no operator; write `==` to compare"),
        ("true & true", "at position 5: `&` is no operator; write `&&`"),
        ("principal.type == 'user", "at position 18: the string is not closed; end it with '"),
        (
            "[1, 2, 3].exists(x, x == 1)",
            "the macro `exists` is not part of the dialect; of the macros it has only `has`",
        ),
        ("principal.type.matches('u.*')", "regular expressions are not part of the dialect"),
        ("string(context.amount) == '1'", "the conversion `string` is not part of the dialect; declare"),
        ("now.getHours() > 8", "`getHours` is not part of the dialect; compare timestamps, and subtract them"),
        ("context.amount == 5u", "at position 18: unsigned integers are not part of the dialect; write 5"),
        ("principal.type == b'user'", "bytes are not part of the dialect"),
        ("principal.type + 'x' == 'userx'", "`+` is not defined for string and string; strings cannot be built"),
        ("principal.attributes.a + 'x' == 'userx'", "strings cannot be built"),
        (
            "context.amount * 1.5 > 3",
            "`*` is not defined for int and double; write both with or without a decimal point",
        ),
        ("context.at < '2026-01-01T00:00:00Z'", "put the string into timestamp(…)"),
        ("inCidr('10.0.0.1', '10.0.0.0/8')", "does not take a value of the type string (put it into ip(…))"),
        ("inCidr(context.who, '10.0.0.1/8')", "cannot read \"10.0.0.1/8\": it is no network with a prefix length"),
        ("ip('10.0.0.256') == context.who", "at position 3: `ip` cannot read \"10.0.0.256\": it is no IPv4 or IPv6"),
        ("context.at > timestamp('2026-01-01')", "it is no RFC 3339 timestamp with an offset"),
        ("now - context.at > duration('1d')", "it is no duration of numbers with the units h, m, s"),
        ("context.amount", "the expression is int; write one that is true or false"),
        ("now", "the expression is timestamp; write one that is true or false"),
        ("context.amount && true", "at position 0: an operand of `&&` is int; compare it with something"),
        ("!context.amount", "`!` takes a bool, not int"),
        ("context.amount ? true : false", "the test before `?` is int"),
        ("context.amount == 'x'", "`==` is not defined for int and string"),
        ("context.amount in context.tags", "`in` is not defined for int and list<string>"),
        ("'a' in principal.type", "write `a.contains(b)`"),
        ("context.amount.x == 1", "a value of the type int has no member `x`"),
        ("context.tags['a'] == 'a'", "has no index of the type string"),
        ("has(context.amount > 1)", "`has` takes one member"),
        ("has(context.nothing)", "the parameter `nothing` is not declared"),
        ("size(1) == 1", "`size` does not take a value of the type int"),
        ("startsWith('a', 'b')", "`startsWith` is called on its first argument"),
        ("'a'.timestamp() == now", "`timestamp` is no method"),
        ("size() == 1", "`size` takes another number of arguments"),
        ("frobnicate(1)", "the function `frobnicate` is unknown; the dialect has has, size"),
        ("Point{x: 1} == null", "at position 5: messages are not part of the dialect"),
        (".context.amount == 1", "a name does not begin with a point"),
        ("principal.attributes.`a-b` == 1", "quoted names are not part of the dialect"),
        ("principal.attributes.in == 1", "`in` is a word of the language"),
        ("if == 1", "`if` is a reserved word"),
        ("9223372036854775808 > 0", "is out of the range of its type"),
        ("1e400 > 0.0", "is out of the range of its type"),
        ("0x > 0", "is out of the range of its type"),
        ("'\\d' == 'd'", "at position 1: the escape is not valid"),
        ("'\\ud800' == 'd'", "the escape is not valid"),
        ("'a\nb' == 'd'", "a string ends on its line"),
        ("!-1", "put brackets around the operand"),
        ("{1.5: 1} == {}", "a key of a map is double"),
        ("1 < 2 §", "the character '§' has no meaning here"),
        ("5amount > 1", "is followed by 'a'"),
        ("true // why\n false", "at position 13"),
    ] {
        let found = rejection(expression);
        assert!(found.contains(expected), "{expression}\n  wanted {expected}\n  got    {found}");
    }
}

#[test]
fn limits_are_exact() {
    let brackets = |levels: usize| format!("{}true{}", "(".repeat(levels), ")".repeat(levels));
    assert_eq!(rejection(&brackets(16)), "accepted");
    assert!(rejection(&brackets(17)).contains("at position 17: the expression is nested deeper than 16 levels"));
    assert_eq!(rejection(&format!("{}true", "!".repeat(16))), "accepted");
    assert!(rejection(&format!("{}true", "!".repeat(17))).contains("nested deeper"));
    let select = |levels: usize| format!("resource.attributes{} == 1", ".a".repeat(levels - 1));
    assert_eq!(rejection(&select(16)), "accepted");
    assert!(rejection(&select(17)).contains("nested deeper"));
    let operators = |count: usize| format!("true{}", "||true".repeat(count));
    assert_eq!(rejection(&operators(64)), "accepted");
    assert!(rejection(&operators(65)).contains("more than 64 operators and calls"));
    let long = |bytes: usize| Compiled::new(&Condition::new(format!("{:bytes$}", "true")));
    assert!(long(1024).is_ok());
    assert!(long(1025).unwrap_err().to_string().contains("the expression has 1025 bytes; the most is 1024"));
    let mut condition = Condition::new("true");
    for at in 0..9 {
        condition = condition.parameter(format!("p{at}"), crate::domain::ParameterType::Int);
    }
    assert!(Compiled::new(&condition).unwrap_err().to_string().contains("9 parameters"));
}

//! The parser: text to syntax tree, by recursive descent.
//!
//! Owns the grammar and its limits: the depth of nesting bounds the stack, the number of operators bounds the cost of
//! an evaluation. Must never know a name.

use super::lexer::{self, Kind, Token};
use super::syntax::{Call, Expr, Form, Operator, Rejected};

/// The largest number of levels of brackets, arguments, unary operators, branches and selections inside of one another.
pub(super) const MAX_DEPTH: usize = 16;

/// The largest number of operators and calls.
pub(super) const MAX_OPERATORS: usize = 64;

/// Words that the language reserves for itself.
const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// Reads a whole expression.
pub(super) fn parse(text: &str) -> Result<Expr, Rejected> {
    let mut parser = Parser { tokens: lexer::tokens(text)?, next: 0, depth: 0, operators: 0 };
    let expression = parser.expression()?;
    match parser.peek() {
        Kind::End => Ok(expression),
        _ => Err(parser.unexpected("an operator or the end of the expression")),
    }
}

struct Parser {
    /// Ends with [`Kind::End`].
    tokens: Vec<Token>,
    next: usize,
    depth: usize,
    operators: usize,
}

impl Parser {
    fn token(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }

    fn peek(&self) -> &Kind {
        self.token().map_or(&Kind::End, |token| &token.kind)
    }

    /// The offset of the next token.
    fn start(&self) -> usize {
        self.token().map_or(0, |token| token.start)
    }

    /// The offset behind the previous token.
    fn end(&self) -> usize {
        self.next.checked_sub(1).and_then(|at| self.tokens.get(at)).map_or(0, |token| token.end)
    }

    fn advance(&mut self) {
        if *self.peek() != Kind::End {
            self.next += 1;
        }
    }

    fn is_symbol(&self, symbol: &str) -> bool {
        matches!(self.peek(), Kind::Symbol(found) if *found == symbol)
    }

    /// Takes the symbol if it is next.
    fn accept(&mut self, symbol: &str) -> bool {
        let is_next = self.is_symbol(symbol);
        if is_next {
            self.advance();
        }
        is_next
    }

    fn expect(&mut self, symbol: &str) -> Result<(), Rejected> {
        if self.accept(symbol) { Ok(()) } else { Err(self.unexpected(&format!("`{symbol}`"))) }
    }

    fn unexpected(&self, wanted: &str) -> Rejected {
        let found = match self.peek() {
            Kind::Name(name) => format!("the name `{name}`"),
            Kind::Int(_) | Kind::Double(_) => "a number".to_owned(),
            Kind::Text(_) => "a string".to_owned(),
            Kind::Symbol(symbol) => format!("`{symbol}`"),
            Kind::End => "the end of the expression".to_owned(),
        };
        Rejected::new(self.start(), format!("{found} stands where {wanted} is expected"))
    }

    fn operator(&mut self, at: usize) -> Result<(), Rejected> {
        self.operators += 1;
        if self.operators <= MAX_OPERATORS {
            return Ok(());
        }
        let reason = format!("the expression has more than {MAX_OPERATORS} operators and calls; divide or shorten it");
        Err(Rejected::new(at, reason))
    }

    /// Checks that `depth` levels are not too many.
    fn check_depth(&self, depth: usize) -> Result<(), Rejected> {
        if depth <= MAX_DEPTH {
            return Ok(());
        }
        let reason = format!("the expression is nested deeper than {MAX_DEPTH} levels; write it flatter");
        Err(Rejected::new(self.start(), reason))
    }

    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Rejected>) -> Result<T, Rejected> {
        self.check_depth(self.depth + 1)?;
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    /// `a ? b : c`
    fn expression(&mut self) -> Result<Expr, Rejected> {
        let test = self.any()?;
        let at = self.start();
        if !self.accept("?") {
            return Ok(test);
        }
        self.operator(at)?;
        let (start, yes) = (test.start, self.nested(Self::any)?);
        self.expect(":")?;
        let no = self.nested(Self::expression)?;
        Ok(Expr { form: Form::Choice(Box::new((test, yes, no))), at, start, end: self.end() })
    }

    fn any(&mut self) -> Result<Expr, Rejected> {
        self.operands("||", Self::all, Form::Any)
    }

    fn all(&mut self) -> Result<Expr, Rejected> {
        self.operands("&&", Self::relation, Form::All)
    }

    fn operands(
        &mut self,
        symbol: &str,
        read: fn(&mut Self) -> Result<Expr, Rejected>,
        form: fn(Vec<Expr>) -> Form,
    ) -> Result<Expr, Rejected> {
        let first = read(self)?;
        if !self.is_symbol(symbol) {
            return Ok(first);
        }
        let (start, at) = (first.start, self.start());
        let mut operands = vec![first];
        while self.is_symbol(symbol) {
            self.operator(self.start())?;
            self.advance();
            operands.push(read(self)?);
        }
        Ok(Expr { form: form(operands), at, start, end: self.end() })
    }

    fn relation(&mut self) -> Result<Expr, Rejected> {
        self.binary(
            |kind| match kind {
                Kind::Symbol("==") => Some(Operator::Equal),
                Kind::Symbol("!=") => Some(Operator::NotEqual),
                Kind::Symbol("<") => Some(Operator::Less),
                Kind::Symbol("<=") => Some(Operator::LessOrEqual),
                Kind::Symbol(">") => Some(Operator::Greater),
                Kind::Symbol(">=") => Some(Operator::GreaterOrEqual),
                Kind::Name(name) if name == "in" => Some(Operator::In),
                _ => None,
            },
            Self::sum,
        )
    }

    fn sum(&mut self) -> Result<Expr, Rejected> {
        self.binary(
            |kind| match kind {
                Kind::Symbol("+") => Some(Operator::Add),
                Kind::Symbol("-") => Some(Operator::Subtract),
                _ => None,
            },
            Self::product,
        )
    }

    fn product(&mut self) -> Result<Expr, Rejected> {
        self.binary(
            |kind| match kind {
                Kind::Symbol("*") => Some(Operator::Multiply),
                Kind::Symbol("/") => Some(Operator::Divide),
                Kind::Symbol("%") => Some(Operator::Remainder),
                _ => None,
            },
            Self::unary,
        )
    }

    fn binary(
        &mut self,
        operator_of: fn(&Kind) -> Option<Operator>,
        read: fn(&mut Self) -> Result<Expr, Rejected>,
    ) -> Result<Expr, Rejected> {
        let mut left = read(self)?;
        while let Some(operator) = operator_of(self.peek()) {
            let at = self.start();
            self.operator(at)?;
            self.advance();
            let right = read(self)?;
            let (start, end) = (left.start, right.end);
            left = Expr { form: Form::Binary(operator, Box::new((left, right))), at, start, end };
        }
        Ok(left)
    }

    /// A series of `!` or of `-`, which the grammar does not mix, before a member.
    fn unary(&mut self) -> Result<Expr, Rejected> {
        let at = self.start();
        let symbol = ["!", "-"].into_iter().find(|symbol| self.is_symbol(symbol));
        let Some(symbol) = symbol else {
            return self.member();
        };
        self.advance();
        if symbol == "-" && matches!(self.peek(), Kind::Int(_) | Kind::Double(_)) {
            return self.negative_number(at);
        }
        self.operator(at)?;
        if ["!", "-"].into_iter().any(|other| other != symbol && self.is_symbol(other)) {
            return Err(self.unexpected("a value; put brackets around the operand"));
        }
        let operand = Box::new(self.nested(Self::unary)?);
        let form = if symbol == "!" { Form::Not(operand) } else { Form::Negate(operand) };
        Ok(Expr { form, at, start: at, end: self.end() })
    }

    /// A negative number is one literal, so that the smallest integer can be written.
    fn negative_number(&mut self, start: usize) -> Result<Expr, Rejected> {
        let form = match *self.peek() {
            Kind::Int(number) => Form::Int(0_i64.checked_sub_unsigned(number).unwrap_or(i64::MIN)),
            Kind::Double(number) => Form::Double(-number),
            _ => return Err(self.unexpected("a number")),
        };
        self.advance();
        let number = Expr { form, at: start, start, end: self.end() };
        self.selections(number)
    }

    fn member(&mut self) -> Result<Expr, Rejected> {
        let primary = self.primary()?;
        self.selections(primary)
    }

    /// `.name`, `.name(…)` and `[…]` behind `base`. Each is one level deeper, since each evaluates the one before.
    fn selections(&mut self, mut base: Expr) -> Result<Expr, Rejected> {
        let mut depth = self.depth;
        loop {
            let (at, start) = (self.start(), base.start);
            let form = if self.accept(".") {
                self.selection(base, at)?
            } else if self.accept("[") {
                let index = self.nested(Self::expression)?;
                self.expect("]")?;
                Form::Index(Box::new(base), Box::new(index))
            } else if self.is_symbol("{") {
                let reason = "messages are not part of the dialect; remove the braces, or put an operator before them";
                return Err(Rejected::new(at, reason));
            } else {
                return Ok(base);
            };
            depth += 1;
            self.check_depth(depth)?;
            base = Expr { form, at, start, end: self.end() };
        }
    }

    fn selection(&mut self, base: Expr, at: usize) -> Result<Form, Rejected> {
        let Kind::Name(name) = self.peek().clone() else {
            return Err(self.unexpected("the name of a member"));
        };
        if matches!(name.as_str(), "true" | "false" | "null" | "in") {
            let reason = format!("`{name}` is a word of the language; write `[\"{name}\"]` to select such a member");
            return Err(Rejected::new(self.start(), reason));
        }
        self.advance();
        if self.is_symbol("(") {
            let arguments = self.arguments(at)?;
            return Ok(Form::Call(Call { receiver: Some(Box::new(base)), name, arguments }));
        }
        Ok(Form::Select(Box::new(base), name))
    }

    fn arguments(&mut self, at: usize) -> Result<Vec<Expr>, Rejected> {
        self.operator(at)?;
        self.expect("(")?;
        let mut arguments = Vec::new();
        if self.accept(")") {
            return Ok(arguments);
        }
        loop {
            arguments.push(self.nested(Self::expression)?);
            if !self.accept(",") {
                self.expect(")")?;
                return Ok(arguments);
            }
        }
    }

    fn primary(&mut self) -> Result<Expr, Rejected> {
        let start = self.start();
        let form = match self.peek().clone() {
            Kind::Int(number) => {
                let number = i64::try_from(number).map_err(|_| {
                    Rejected::new(start, format!("the number {number} is out of the range of its type, int of 64 bits"))
                })?;
                self.literal(Form::Int(number))
            }
            Kind::Double(number) => self.literal(Form::Double(number)),
            Kind::Text(text) => self.literal(Form::Text(text)),
            Kind::Name(name) => self.name(name, start)?,
            Kind::Symbol("(") => {
                self.advance();
                let inner = self.nested(Self::expression)?;
                self.expect(")")?;
                return Ok(Expr { start, end: self.end(), ..inner });
            }
            Kind::Symbol("[") => {
                self.advance();
                Form::List(self.items("]", Self::expression)?)
            }
            Kind::Symbol("{") => {
                self.advance();
                Form::Map(self.items("}", Self::entry)?)
            }
            Kind::Symbol(".") => {
                return Err(Rejected::new(start, "a name does not begin with a point; remove it"));
            }
            _ => return Err(self.unexpected("a value")),
        };
        Ok(Expr { form, at: start, start, end: self.end() })
    }

    fn literal(&mut self, form: Form) -> Form {
        self.advance();
        form
    }

    fn name(&mut self, name: String, start: usize) -> Result<Form, Rejected> {
        if name == "in" || RESERVED.contains(&name.as_str()) {
            return Err(Rejected::new(start, format!("`{name}` is a reserved word and no value")));
        }
        self.advance();
        Ok(match name.as_str() {
            "true" | "false" => Form::Bool(name == "true"),
            "null" => Form::Null,
            _ if self.is_symbol("(") => Form::Call(Call { receiver: None, name, arguments: self.arguments(start)? }),
            _ => Form::Name(name),
        })
    }

    fn entry(&mut self) -> Result<(Expr, Expr), Rejected> {
        let key = self.expression()?;
        self.expect(":")?;
        Ok((key, self.expression()?))
    }

    /// Items up to `close`; a comma may follow the last one.
    fn items<T>(&mut self, close: &str, read: fn(&mut Self) -> Result<T, Rejected>) -> Result<Vec<T>, Rejected> {
        let mut items = Vec::new();
        while !self.accept(close) {
            items.push(self.nested(read)?);
            if !self.accept(",") {
                self.expect(close)?;
                break;
            }
        }
        Ok(items)
    }
}

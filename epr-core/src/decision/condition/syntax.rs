//! The syntax tree of an expression.
//!
//! Owns the shape of an expression before names and types are checked. Offsets are in bytes.

/// An expression was rejected: the offset in bytes, and a sentence that says what is wrong and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rejected {
    pub(super) at: usize,
    pub(super) reason: String,
}

impl Rejected {
    pub(super) fn new(at: usize, reason: impl Into<String>) -> Self {
        Self { at, reason: reason.into() }
    }
}

/// The number of characters before the byte `at`.
pub(super) fn characters(text: &str, at: usize) -> usize {
    text.char_indices().take_while(|(start, _)| *start < at).count()
}

/// One expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Expr {
    pub(super) form: Form,
    /// The offset of the operator, or of the first byte.
    pub(super) at: usize,
    /// The offset of the first byte.
    pub(super) start: usize,
    /// The offset behind the last byte.
    pub(super) end: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Form {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(String),
    List(Vec<Expr>),
    Map(Vec<(Expr, Expr)>),
    Name(String),
    Select(Box<Expr>, String),
    Index(Box<Expr>, Box<Expr>),
    Call(Call),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    Binary(Operator, Box<(Expr, Expr)>),
    /// Operands of `&&`.
    All(Vec<Expr>),
    /// Operands of `||`.
    Any(Vec<Expr>),
    /// Test, value if true, value if false.
    Choice(Box<(Expr, Expr, Expr)>),
}

/// A call of a function or, with a receiver, of a method.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Call {
    pub(super) receiver: Option<Box<Expr>>,
    pub(super) name: String,
    pub(super) arguments: Vec<Expr>,
}

/// A binary operator other than `&&` and `||`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Operator {
    pub(super) fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::In => "in",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
        }
    }
}

//! What pages consist of: facts, tables, forms, texts, notices. Each is a template of its own.
//!
//! Owns how a value becomes HTML or CSV. Must never take HTML from a page: pages give text, which the templates escape.

use std::fmt;

use askama::Template;
use epr_core::domain::Timestamp;

use crate::format::{self, visible};
use crate::texts::Texts;

/// How a part of a cell looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Text of this program.
    Plain,
    /// Text of others, isolated from the direction of the text around it.
    Name,
    /// An id, a hash, an expression.
    Code,
    /// A time.
    Time,
    /// A state that is as it should be.
    Good,
    /// A state that is not.
    Bad,
    /// A state that needs attention.
    Warning,
    /// Something said in passing.
    Muted,
}

impl Look {
    fn class(self) -> &'static str {
        match self {
            Self::Plain | Self::Name | Self::Code | Self::Time => "",
            Self::Good => "badge good",
            Self::Bad => "badge bad",
            Self::Warning => "badge warning",
            Self::Muted => "muted",
        }
    }
}

/// A part of a cell.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    text: String,
    href: Option<String>,
    look: Look,
    /// The time of a part that is one, as machines read it.
    machine: String,
}

/// A cell of a table, or the value of a fact.
#[derive(Debug, Clone, Default, Template)]
#[template(path = "cell.html")]
pub(crate) struct Cell {
    parts: Vec<Part>,
}

impl Cell {
    /// A cell with nothing in it.
    pub(crate) fn empty() -> Self {
        Self::default()
    }

    /// A cell with one part.
    pub(crate) fn new(look: Look, text: impl AsRef<str>) -> Self {
        Self::empty().and(look, text)
    }

    /// Text of this program.
    pub(crate) fn plain(text: impl AsRef<str>) -> Self {
        Self::new(Look::Plain, text)
    }

    /// Text of others.
    pub(crate) fn name(text: impl AsRef<str>) -> Self {
        Self::new(Look::Name, text)
    }

    /// An id, a hash, an expression.
    pub(crate) fn code(text: impl AsRef<str>) -> Self {
        Self::new(Look::Code, text)
    }

    /// A time.
    pub(crate) fn time(at: Timestamp) -> Self {
        Self::empty().and_time(at)
    }

    /// A time, or `otherwise` where there is none.
    pub(crate) fn time_or(at: Option<Timestamp>, otherwise: &str) -> Self {
        at.map_or_else(|| Self::new(Look::Muted, otherwise), Self::time)
    }

    /// A link with this text.
    pub(crate) fn link(look: Look, text: impl AsRef<str>, href: impl Into<String>) -> Self {
        Self::empty().and_link(look, text, href)
    }

    /// The cell with a further part.
    pub(crate) fn and(mut self, look: Look, text: impl AsRef<str>) -> Self {
        self.parts.push(Part { text: visible(text.as_ref()), href: None, look, machine: String::new() });
        self
    }

    /// The cell with a further link.
    pub(crate) fn and_link(mut self, look: Look, text: impl AsRef<str>, href: impl Into<String>) -> Self {
        self.parts.push(Part { text: visible(text.as_ref()), href: Some(href.into()), look, machine: String::new() });
        self
    }

    /// The cell with a further time.
    pub(crate) fn and_time(mut self, at: Timestamp) -> Self {
        self.parts.push(Part { text: format::time(at), href: None, look: Look::Time, machine: at.to_string() });
        self
    }

    /// The cell as plain text, times as machines read them.
    pub(crate) fn text(&self) -> String {
        let texts = self.parts.iter().map(|part| if part.machine.is_empty() { &part.text } else { &part.machine });
        texts.map(String::as_str).collect::<Vec<_>>().join(" ")
    }
}

/// Facts about one subject: a label and a value each.
#[derive(Template)]
#[template(path = "facts.html")]
pub(crate) struct Facts {
    facts: Vec<(&'static str, Cell)>,
}

impl Facts {
    pub(crate) fn new(facts: Vec<(&'static str, Cell)>) -> Self {
        Self { facts }
    }
}

/// A table with a caption. It is also what the CSV form of a page has.
#[derive(Template)]
#[template(path = "table.html")]
pub(crate) struct Table {
    caption: String,
    head: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
    /// What an empty table says.
    empty: &'static str,
    /// The link to the next page, and its text.
    next: Option<(String, &'static str)>,
    /// Distinguishes the tables of a page, from 1.
    number: usize,
}

impl Table {
    pub(crate) fn new(caption: impl AsRef<str>, head: Vec<&'static str>, empty: &'static str) -> Self {
        Self { caption: format::visible(caption.as_ref()), head, rows: Vec::new(), empty, next: None, number: 0 }
    }

    pub(crate) fn with_rows(self, rows: impl IntoIterator<Item = Vec<Cell>>) -> Self {
        Self { rows: rows.into_iter().collect(), ..self }
    }

    /// The table with a link to its next page, if there is one.
    pub(crate) fn with_next(self, next: Option<String>, text: &'static str) -> Self {
        Self { next: next.map(|href| (href, text)), ..self }
    }

    /// Numbers the table among those of its page.
    pub(crate) fn set_number(&mut self, number: usize) {
        self.number = number;
    }

    /// The table as CSV with a head.
    pub(crate) fn csv(&self) -> Result<Vec<u8>, csv::Error> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(&self.head)?;
        for row in &self.rows {
            writer.write_record(row.iter().map(|cell| defused(cell.text())))?;
        }
        writer.into_inner().map_err(|error| csv::Error::from(error.into_error()))
    }
}

/// A cell that a spreadsheet would take for a formula gets an apostrophe in front.
fn defused(text: String) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text }
}

/// The input of a field.
pub(crate) enum Input {
    /// One line.
    Line,
    /// One line, with suggestions.
    Suggested(Vec<String>),
    /// Several lines.
    Lines,
    /// One of these values, each with its label.
    Choice(Vec<(String, String)>),
}

/// A field of a form.
pub(crate) struct Field {
    name: &'static str,
    label: &'static str,
    value: String,
    hint: &'static str,
    input: Input,
    required: bool,
    /// Where the field is checked while it is typed; empty for none.
    check: &'static str,
}

impl Field {
    pub(crate) fn line(name: &'static str, label: &'static str, value: &str) -> Self {
        Self::of(name, label, value, Input::Line)
    }

    pub(crate) fn of(name: &'static str, label: &'static str, value: &str, input: Input) -> Self {
        Self { name, label, value: value.to_owned(), hint: "", input, required: false, check: "" }
    }

    pub(crate) fn hinted(self, hint: &'static str) -> Self {
        Self { hint, ..self }
    }

    /// The field that script sends to `path` with its form when it changes. What comes back is shown below it.
    pub(crate) fn checked_by(self, path: &'static str) -> Self {
        Self { check: path, ..self }
    }

    pub(crate) fn required(self) -> Self {
        Self { required: true, ..self }
    }
}

/// A form: one that asks, whose fields are the query of a page, or one that changes something.
#[derive(Template)]
#[template(path = "form.html")]
pub(crate) struct Form {
    /// Distinguishes the fields of the forms of one page.
    id: &'static str,
    action: String,
    method: &'static str,
    hidden: Vec<(&'static str, String)>,
    fields: Vec<Field>,
    submit: &'static str,
}

impl Form {
    pub(crate) fn ask(id: &'static str, action: impl Into<String>, submit: &'static str) -> Self {
        Self { id, action: action.into(), method: "get", hidden: Vec::new(), fields: Vec::new(), submit }
    }

    /// A form that changes something, with the token of the visitor's session.
    pub(crate) fn change(id: &'static str, action: &str, submit: &'static str, form_token: &str) -> Self {
        Self { method: "post", ..Self::ask(id, action, submit) }.hidden("form_token", form_token)
    }

    pub(crate) fn field(mut self, field: Field) -> Self {
        self.fields.push(field);
        self
    }

    pub(crate) fn hidden(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.hidden.push((name, value.into()));
        self
    }
}

/// Text that keeps its line ends.
#[derive(Template)]
#[template(path = "text.html")]
pub(crate) struct Text {
    caption: &'static str,
    text: String,
}

impl Text {
    pub(crate) fn new(caption: &'static str, text: &str) -> Self {
        Self { caption, text: format::visible_lines(text) }
    }
}

/// A notice.
#[derive(Template)]
#[template(path = "notice.html")]
pub(crate) struct Notice {
    class: &'static str,
    lines: Vec<String>,
}

impl Notice {
    pub(crate) fn new(look: Look, lines: impl IntoIterator<Item = String>) -> Self {
        let class = match look {
            Look::Bad => "bad",
            Look::Good => "good",
            Look::Warning => "warning",
            _ => "plain",
        };
        Self { class, lines: lines.into_iter().map(|line| visible(&line)).collect() }
    }
}

/// Links beside each other.
#[derive(Template)]
#[template(path = "links.html")]
pub(crate) struct Links {
    /// The label, the address, and whether it is the page that is shown.
    links: Vec<(&'static str, String, bool)>,
}

impl Links {
    pub(crate) fn new(links: Vec<(&'static str, String)>) -> Self {
        Self { links: links.into_iter().map(|(label, href)| (label, href, false)).collect() }
    }

    /// Links to the views of one subject, of which one can be the page that is shown.
    pub(crate) fn views(links: Vec<(&'static str, String, bool)>) -> Self {
        Self { links }
    }
}

/// An entity on a level of the tree.
pub(crate) struct Branch {
    /// Its name, type and status, without a link.
    pub(crate) label: Cell,
    /// The address of its page.
    pub(crate) entity: String,
    /// The address of the level below it; `None` if nothing is there.
    pub(crate) below: Option<String>,
}

/// A level of the tree. Script brings each level below it when it is opened; without script, links lead there.
#[derive(Template)]
#[template(path = "branches.html")]
pub(crate) struct Branches {
    t: &'static Texts,
    rows: Vec<Branch>,
    /// The address of the rest of the level.
    next: Option<String>,
}

impl Branches {
    pub(crate) fn new(t: &'static Texts, rows: Vec<Branch>, next: Option<String>) -> Self {
        Self { t, rows, next }
    }
}

/// A part of a page.
pub(crate) enum Block {
    /// A table.
    Table(Table),
    /// A list in a form of its own, rendered, with the table that is its CSV.
    List(String, Table),
    /// Anything else, rendered.
    Html(String),
}

impl Block {
    /// A rendered template. What cannot be rendered is left out and logged: templates only fail on a write to memory.
    pub(crate) fn of(template: &impl Template) -> Self {
        Self::Html(rendered(template))
    }

    /// What the CSV of the block has.
    pub(crate) fn table(&self) -> Option<&Table> {
        match self {
            Self::Table(table) | Self::List(_, table) => Some(table),
            Self::Html(_) => None,
        }
    }

    /// [`Block::table`], to change it.
    pub(crate) fn table_mut(&mut self) -> Option<&mut Table> {
        match self {
            Self::Table(table) | Self::List(_, table) => Some(table),
            Self::Html(_) => None,
        }
    }
}

/// The HTML of a template.
pub(crate) fn rendered(template: &impl Template) -> String {
    template.render().unwrap_or_else(|error| {
        tracing::error!(%error, "page_not_rendered");
        String::new()
    })
}

impl fmt::Display for Block {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(table) => table.render_into(out).map_err(|_| fmt::Error),
            Self::List(html, _) | Self::Html(html) => out.write_str(html),
        }
    }
}

macro_rules! block_of {
    ($($template:ident),+) => {
        $(impl From<$template> for Block {
            fn from(template: $template) -> Self {
                Self::of(&template)
            }
        })+
    };
}
block_of!(Facts, Form, Text, Notice, Links);

impl From<Table> for Block {
    fn from(table: Table) -> Self {
        Self::Table(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::texts::Language;

    const HOSTILE: &str = "<script>alert(1)</script>\" onload='x' & \u{202e}\u{1b}[31m";

    #[test]
    fn text_of_others_is_text_in_every_template() {
        let cell = || Cell::name(HOSTILE).and_link(Look::Name, HOSTILE, "/x?\"<>'");
        let table = Table::new(HOSTILE, vec!["head"], "none").with_rows([vec![cell()]]);
        let suggested = Input::Suggested(vec![HOSTILE.into()]);
        let choice = Input::Choice(vec![(HOSTILE.into(), HOSTILE.into())]);
        let form = Form::ask("f", "/x\"<", "send")
            .field(Field::line("a", "A", HOSTILE))
            .field(Field::of("b", "B", HOSTILE, suggested))
            .field(Field::of("c", "C", HOSTILE, choice))
            .field(Field::of("d", "D", HOSTILE, Input::Lines))
            .hidden("e", HOSTILE);
        let branch = |below| Branch { label: Cell::name(HOSTILE), entity: "/x\"<".into(), below };
        let branches = vec![branch(None), branch(Some("/y\"<".into()))];
        let branches = Branches::new(Language::English.texts(), branches, Some("/z\"<".into()));
        for block in [
            Block::from(table),
            form.into(),
            Facts::new(vec![("label", cell())]).into(),
            Text::new("text", HOSTILE).into(),
            Notice::new(Look::Bad, [HOSTILE.to_owned()]).into(),
            Links::new(vec![("label", "/x\"<".to_owned())]).into(),
            Block::of(&branches),
        ] {
            let html = block.to_string();
            assert!(!html.is_empty());
            for part in ["<script", "onload='", "\"<"] {
                assert!(!html.contains(part), "{part}: {html}");
            }
            // What is edited is sent back as it was.
            assert!(!html.contains('\u{1b}') || html.starts_with("<form"), "{html}");
        }
    }

    #[test]
    fn a_spreadsheet_takes_no_cell_for_a_formula() {
        let rows = ["=1+1", "@x", "plain"].map(|text| vec![Cell::plain(text)]);
        let csv = Table::new("t", vec!["head"], "none").with_rows(rows).csv().unwrap();
        assert_eq!(String::from_utf8(csv).unwrap(), "head\n'=1+1\n'@x\nplain\n");
    }
}

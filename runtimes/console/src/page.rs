//! A page: its title, its sections, and the frame around them.
//!
//! Owns the frame: navigation, language switch, logout. Must never decide what a page may show.

use askama::Template;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use epr_core::authn::Scope;

use crate::assets;
use crate::blocks::{Block, Links, rendered};
use crate::query::Query;
use crate::refusal::Refusal;
use crate::texts::{Language, Texts};
use crate::visitor::{Ask, Visitor};

/// The parameter of the language switch.
pub(crate) const LANGUAGE_PARAMETER: &str = "language";
/// The parameter that asks for a table of a page as CSV, by its number.
const CSV_PARAMETER: &str = "csv";

/// The answer to a request for a page.
pub(crate) type Answer = Result<Response, Refusal>;

/// A part of a page under a heading.
pub(crate) struct Section {
    heading: String,
    blocks: Vec<Block>,
}

/// A page that is being put together.
pub(crate) struct Page {
    title: String,
    /// The path of the entry of the navigation that it belongs to.
    tab: &'static str,
    sections: Vec<Section>,
    status: StatusCode,
    refreshes: bool,
    scripts: Vec<&'static str>,
}

struct NavItem {
    href: &'static str,
    label: &'static str,
    current: bool,
}

struct LanguageItem {
    href: String,
    code: &'static str,
    name: &'static str,
    current: bool,
}

#[derive(Template)]
#[template(path = "page.html")]
struct Frame<'a> {
    t: &'static Texts,
    language: &'static str,
    title: String,
    style: &'a str,
    scripts: &'a [&'static str],
    nav: Vec<NavItem>,
    visitor_name: Option<String>,
    form_token: &'a str,
    languages: Vec<LanguageItem>,
    sections: &'a [Section],
    refreshes: bool,
}

impl Page {
    pub(crate) fn new(title: impl AsRef<str>, tab: &'static str) -> Self {
        Self {
            title: crate::format::visible(title.as_ref()),
            tab,
            sections: Vec::new(),
            status: StatusCode::OK,
            refreshes: false,
            scripts: vec![assets::htmx_address(), assets::script_address()],
        }
    }

    /// The page with a section; without a heading if it is empty.
    pub(crate) fn section(mut self, heading: impl Into<String>, blocks: Vec<Block>) -> Self {
        self.sections.push(Section { heading: heading.into(), blocks });
        self
    }

    /// The page with a further script.
    pub(crate) fn with_script(mut self, address: &'static str) -> Self {
        self.scripts.push(address);
        self
    }

    pub(crate) fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// The page that a browser loads again at once.
    pub(crate) fn refreshing(self) -> Self {
        Self { refreshes: true, ..self }
    }

    /// The response to `ask`: HTML, in which each table has a link to its CSV, or that CSV.
    pub(crate) fn respond(mut self, ask: &Ask) -> Response {
        if let Some(number) = ask.query.get(CSV_PARAMETER) {
            return self.csv(number.parse().unwrap_or_default());
        }
        let mut number = 0;
        for section in &mut self.sections {
            for mut block in std::mem::take(&mut section.blocks) {
                let Some(table) = block.table_mut() else {
                    section.blocks.push(block);
                    continue;
                };
                number += 1;
                table.set_number(number);
                section.blocks.push(block);
                let address = format!("?{}", ask.query.with(CSV_PARAMETER, Some(&number.to_string())));
                section.blocks.push(Links::new(vec![(ask.texts().csv, address)]).into());
            }
        }
        self.html(&ask.visitor)
    }

    /// The page as HTML.
    pub(crate) fn html(&self, visitor: &Visitor) -> Response {
        let t = visitor.texts();
        let frame = Frame {
            t,
            language: visitor.language.code(),
            title: self.title.clone(),
            style: assets::style_address(),
            scripts: &self.scripts,
            nav: navigation(visitor, self.tab),
            visitor_name: visitor.caller.as_ref().map(|caller| crate::format::visible(caller.name())),
            form_token: &visitor.form_token,
            languages: languages(visitor),
            sections: &self.sections,
            refreshes: self.refreshes,
        };
        (self.status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], rendered(&frame)).into_response()
    }

    /// The table with this number, from 1.
    fn csv(&self, number: usize) -> Response {
        let blocks = self.sections.iter().flat_map(|section| &section.blocks);
        let mut tables = blocks.filter_map(Block::table);
        let Some(table) = number.checked_sub(1).and_then(|at| tables.nth(at)) else {
            return Refusal::not_found("There is no such table").into_response();
        };
        match table.csv() {
            Ok(bytes) => {
                let headers = [
                    (header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present"),
                    (header::CONTENT_DISPOSITION, "attachment; filename=\"epr.csv\""),
                ];
                (headers, bytes).into_response()
            }
            Err(error) => {
                tracing::error!(%error, "csv_not_written");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}

/// The entries that the visitor's scopes open.
fn navigation(visitor: &Visitor, tab: &str) -> Vec<NavItem> {
    if !visitor.is_known {
        return Vec::new();
    }
    let t = visitor.texts();
    let all = [
        ("/console", t.home, None),
        ("/console/entities", t.entities, Some(Scope::Read)),
        ("/console/principals", t.principals, Some(Scope::Read)),
        ("/console/roles", t.roles, Some(Scope::Read)),
        ("/console/check", t.check, Some(Scope::Explain)),
        ("/console/access", t.access, Some(Scope::List)),
        ("/console/ledger", t.ledger, Some(Scope::Audit)),
        ("/console/events", t.events, Some(Scope::Events)),
        ("/console/health", t.health, Some(Scope::Operate)),
    ];
    let open = all.into_iter().filter(|(_, _, scope)| scope.is_none_or(|scope| visitor.may(scope)));
    open.map(|(href, label, _)| NavItem { href, label, current: href == tab }).collect()
}

fn languages(visitor: &Visitor) -> Vec<LanguageItem> {
    let (path, query) = visitor.here.split_once('?').unwrap_or((&visitor.here, ""));
    let query = Query::parse(query);
    let item = |language: Language| LanguageItem {
        href: format!("{path}?{}", query.with(LANGUAGE_PARAMETER, Some(language.code()))),
        code: language.code(),
        name: language.name(),
        current: language == visitor.language,
    };
    Language::ALL.map(item).into()
}
